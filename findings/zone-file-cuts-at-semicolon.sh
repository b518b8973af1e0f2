#!/usr/bin/env bash
# One would guess: a semicolon begins a comment, but not inside quotes, as in every zone file with DKIM or DMARC; what cannot be read is an error.
# What happens: zone-file cuts each line at the first semicolon, quotes or not, and closes the text by itself. Parentheses in quotes become
#   spaces. Nothing is thrown; written out again with makeZoneFile, a mail policy is gone, and a URL leads elsewhere.
# Version: zone-file 1.0.0 (and 2.0.0-beta.3, which the packages of Stacks bring), from npm; dnspython 2.8.0 from PyPI, for comparison.
#   Seen: dnspython: v=DMARC1; p=reject | profile (new) | https://hub.example/a;v=2/profile.json
#   Seen: zone-file: v=DMARC1 | profile  new  | https://hub.example/a
# Who meets it: tools that take over, change and write zones; and names of Stacks, whose profile URL is read from such a file with this parser.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" zone-file@1.0.0 newer@npm:zone-file@2.0.0-beta.3 >/dev/null
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check dnspython==2.8.0 2>/dev/null
cd "$folder"
cat > zone <<'ZONE'
$ORIGIN example.com.
$TTL 3600
_dmarc IN TXT "v=DMARC1; p=reject"
note IN TXT "profile (new)"
_http._tcp IN URI 10 1 "https://hub.example/a;v=2/profile.json"
ZONE
by_python=$(venv/bin/python - <<'PY'
import dns.zone

zone = dns.zone.from_file("zone", check_origin=False)
texts = [zone.get_rdataset(name, "TXT")[0].strings[0] for name in ("_dmarc", "note")]
print(" | ".join(text.decode() for text in [*texts, zone.get_rdataset("_http._tcp", "URI")[0].target]))
PY
)
by_node=$(node -e '
const seen = ["zone-file", "newer"].map((name) => {
  const { parseZoneFile, makeZoneFile } = require(name);
  const again = parseZoneFile(makeZoneFile(parseZoneFile(require("fs").readFileSync("zone", "utf8"))));
  return [...again.txt.map(({ txt }) => txt), again.uri[0].target].join(" | ");
});
console.log(seen[0] === seen[1] ? seen[0] : seen.join(" and "));
')
seen="dnspython: $by_python
zone-file: $by_node"
echo "$seen"
expected='dnspython: v=DMARC1; p=reject | profile (new) | https://hub.example/a;v=2/profile.json
zone-file: v=DMARC1 | profile  new  | https://hub.example/a'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: zone-file reads quoted texts whole, or cuts them in another way."; exit 1; }
