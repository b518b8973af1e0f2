/** A user's storage and look-up by @stacks/storage and @stacks/auth. */
import { lookupProfile } from '@stacks/auth';

import { AppUser } from './client.mjs';

export function open(user) {
  // The URL, not a client with another base URL: @stacks/auth 7.6 then asks the public service all the same.
  const zoneFileLookupURL = `${user.namesUrl}/v1/names`;
  return { storage: new AppUser(user).storage, lookUp: (username) => lookupProfile({ username, zoneFileLookupURL }) };
}
