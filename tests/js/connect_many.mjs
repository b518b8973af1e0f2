/** Connect to the hub `count` times, each with a fresh token, and write a file with it. */
import { connectToGaiaHub, uploadToGaiaHub } from '@stacks/storage';

import { answer, given } from './script.mjs';

const connected = [];
for (let number = 0; number < given.count; number++) {
  const hub = await connectToGaiaHub(given.user.hubUrl, given.user.privateKey);
  const problem = await uploadToGaiaHub(`file-${number}`, 'content', hub).then(() => null, String);
  connected.push({ form: 'hub', token: hub.token, problem });
}
answer(connected);
