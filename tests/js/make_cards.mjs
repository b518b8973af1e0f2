/** `count` inbox cards by one user, each with its own `seq`. */
import { AppUser } from './client.mjs';
import { answer, given } from './script.mjs';

const user = new AppUser(given.user);
answer(Array.from({ length: given.count }, (_, number) => user.makeCard([given.inbox], number)));
