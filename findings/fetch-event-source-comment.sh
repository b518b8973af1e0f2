#!/usr/bin/env bash
# One would guess: a comment in an event stream (": ping") is passed over, as the HTML standard says.
# What happens: the parser of @microsoft/fetch-event-source delivers it as a message whose data, event and id are empty,
#   so JSON.parse of the data throws.
# Version: @microsoft/fetch-event-source 2.0.1, from npm. Seen: [{"data":"","event":"","id":""}]
# Who meets it: pages that read a stream which sends comments to keep proxies awake.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" @microsoft/fetch-event-source@2.0.1 >/dev/null
cd "$folder"
seen=$(node -e '
const { getLines, getMessages } = require("@microsoft/fetch-event-source/lib/cjs/parse.js");
const found = [];
const read = getLines(getMessages(() => {}, () => {}, (message) => found.push({ data: message.data, event: message.event, id: message.id })));
read(new TextEncoder().encode(": ping\n\n"));
console.log(JSON.stringify(found));
')
echo "$seen"
expected='[{"data":"","event":"","id":""}]'
[ "$seen" = "${EXPECTED-$expected}" ]
