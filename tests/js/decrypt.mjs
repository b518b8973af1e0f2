/** Texts, each decrypted by `decryptContent`; out of a signed envelope when `signer` says whose, as getFile does it. */
import { decryptContent, verifyECDSA } from '@stacks/encryption';

import { answer, fromContent, given } from './script.mjs';

function open(envelope) {
  const { signature, publicKey, cipherText } = JSON.parse(envelope);
  if (publicKey !== given.signer || !verifyECDSA(cipherText, publicKey, signature)) throw new Error('not signed so');
  return cipherText;
}

answer(
  await Promise.all(
    given.texts.map(async (text) =>
      fromContent(await decryptContent(given.signer ? open(text) : text, { privateKey: given.privateKey })),
    ),
  ),
);
