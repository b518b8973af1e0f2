/** Zone files of names: the profile's URL is in a URI record (RFC 7553), in text like RFC 1035's. */

const MAX_CHARACTERS = 8192; // what BNS version 2 allows; version 1 allows half
// Name, time to live and class (in either order, or neither), URI, priority, weight, target.
const URI_RECORD =
  /^[ \t]*(\S+)[ \t]+(?:\d+[ \t]+)?(?:IN[ \t]+)?(?:\d+[ \t]+)?URI[ \t]+\d+[ \t]+\d+[ \t]+(?:"([^"\r\n]+)"|([^\s";]+))/gim;

/**
 * The URL of the profile, or undefined when the zone file names none.
 *
 * `_http._tcp` comes first, as stacks.js has it; `_https._tcp` is taken too, because zone files in the wild have it. A
 * `_resolver` record points to a registrar, not to a profile.
 */
export function profileUrl(zoneFile: string): string | undefined {
  if (zoneFile.length > MAX_CHARACTERS) return undefined;
  const targets = new Map<string, string>();
  for (const [, name = '', quoted, bare] of zoneFile.matchAll(URI_RECORD)) {
    if (!targets.has(name.toLowerCase())) targets.set(name.toLowerCase(), quoted ?? bare ?? '');
  }
  const target = targets.get('_http._tcp') ?? targets.get('_https._tcp');
  return target === undefined || target.startsWith('http') ? target : `https://${target}`;
}
