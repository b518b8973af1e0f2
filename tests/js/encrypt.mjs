/** Contents, each encrypted by `encryptContent` as the options say. */
import { encryptContent } from '@stacks/encryption';

import { answer, given, toContent } from './script.mjs';

answer(await Promise.all(given.contents.map((content) => encryptContent(toContent(content), given.options))));
