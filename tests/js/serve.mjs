/** How a script answers again and again, as `Node.ask` of tests/support/javascript.py wants it: a line in, a line out. */
import { createInterface } from 'node:readline';

export async function serve(answer) {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await answer(JSON.parse(line))));
  }
}
