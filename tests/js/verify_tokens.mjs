/** What jsontokens makes of tokens: whether the key signed them, and what they say. */
import { TokenVerifier, decodeToken } from 'jsontokens';

import { answer, given } from './script.mjs';

answer(
  given.tokens.map((token) => {
    const { header, payload } = decodeToken(token);
    return { verified: new TokenVerifier('ES256K', given.publicKey).verify(token), header, claims: payload };
  }),
);
