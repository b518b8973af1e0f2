/**
 * A user's storage and look-up by blockstack.js, the library before @stacks.
 *
 * It was made before Node had a `fetch`, and Node's refuses the relative referrer that it sends (browsers do not):
 * without one, it brings the `fetch` that it was made with.
 */
import { createRequire } from 'node:module';

globalThis.fetch = undefined;
const { AppConfig, UserSession, config, lookupProfile } = createRequire(import.meta.url)('blockstack');

export function open({ name, app, privateKey, legacyNamesUrl, hubUrl, associationToken: gaiaAssociationToken }) {
  config.network.blockstackAPIUrl = legacyNamesUrl;
  const appConfig = new AppConfig(['store_write', 'publish_data'], app, '', '/manifest.json', legacyNamesUrl);
  const userData = { username: name, appPrivateKey: privateKey, hubUrl, gaiaAssociationToken, profile: {} };
  return { storage: new UserSession({ appConfig, sessionOptions: { userData } }), lookUp: (username) => lookupProfile(username) };
}
