/** The page begins here: who is in the world, who sits in this window, and what they see. */
import { Conversation } from './conversation.js';
import { button, byId, element, showBanner, showSection } from './elements.js';
import { forgetOthers } from './history.js';
import { Rows } from './rows.js';
import { Session } from './session.js';
import { Settings } from './settings.js';
import { because, NOTICES, shortName } from './words.js';

const WHO = 'who'; // in sessionStorage, which each tab has its own of

async function start() {
  const world = await askWorld();
  if (!world.client_is_built) return showSection('unbuilt');
  const library = await import('./inbox-client.js');
  forgetOthers(world.people.map(({ address }) => address));
  const rows = new Rows(world);
  byId('actions').hidden = false;
  const person = whoSitsHere(world.people);
  byId('open-settings').hidden = !person;
  if (person) await enter(library, world, person, rows);
  else welcome(world.people);
  if (sessionStorage.getItem('rows')) rows.toggle(true);
}

async function askWorld() {
  return (await fetch('world.json')).json();
}

/** #alice.id in the address is Alice; else who was chosen in this tab before. */
function whoSitsHere(people) {
  const named = decodeURIComponent(location.hash.slice(1)) || sessionStorage.getItem(WHO);
  return people.find(({ name }) => name === named);
}

function welcome(people) {
  const sit = ({ name }) => {
    sessionStorage.setItem(WHO, name);
    startAgain();
  };
  byId('people').replaceChildren(
    ...people.map((person) => {
      const face = element('span', { class: 'face', 'aria-hidden': 'true' }, shortName(person.name).charAt(0));
      const made = button('', () => sit(person));
      made.append(face, element('strong', {}, shortName(person.name)), element('span', { class: 'quiet' }, person.name));
      return element('li', {}, made);
    }),
  );
  if (people.length === 0) byId('people').append(element('li', {}, 'Nobody is here yet. Reload the page in a moment.'));
  showSection('welcome');
}

async function enter(library, world, person, rows) {
  sessionStorage.setItem(WHO, person.name);
  byId('my-name').textContent = person.name;
  byId('me').hidden = false;
  byId('leave').addEventListener('click', leave);
  const others = world.people.map(({ name }) => name).filter((name) => name !== person.name);
  const session = new Session(library, world, person);
  session.addEventListener('notice', ({ detail }) => showBanner(NOTICES[detail] ?? detail));
  session.addEventListener('audit', ({ detail }) => detail.verdict === 'missing' && showBanner(NOTICES.audit));
  session.addEventListener('connection', () => void lookForNewWorld(session));
  session.addEventListener('connection', () => session.inbox && rows.turnTo(session.inbox));
  new Conversation(session, others);
  new Settings(session, others);
  showSection('talk');
  byId('text').focus();
  await join(session);
}

async function join(session) {
  try {
    await session.join();
  } catch (error) {
    showBanner(`You are not connected. ${because(error)}`, button('Try again', () => location.reload()));
  }
}

function leave() {
  sessionStorage.removeItem(WHO);
  startAgain();
}

/** Without a name in the address, which would have the last word. */
function startAgain() {
  history.replaceState(null, '', location.pathname);
  location.reload();
}

/** A world that was started again has the same URL and other keys, and this window belongs to the one before. */
async function lookForNewWorld({ places, person }) {
  if ([...places.values()].every(({ isUp }) => isUp)) return;
  const world = await askWorld().catch(() => undefined);
  if (!world || world.people.some(({ address }) => address === person.address)) return;
  showBanner('The world was started anew, with new keys for everybody.', button('Reload', () => location.reload()));
}

addEventListener('hashchange', () => location.reload());
addEventListener('unhandledrejection', ({ reason }) => showBanner(`Something failed that nobody foresaw. ${because(reason)}`));
start().catch((error) => showBanner(`The page could not start. ${because(error)}`, button('Reload', () => location.reload())));
