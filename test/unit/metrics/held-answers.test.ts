import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { createHeldAnswers } from '../../../src/metrics/held-answers.ts';

/** An answer that is not taken until the test says so, or that it is cut. */
function answer() {
  const state = { isCut: false };
  const response = Object.assign(new EventEmitter(), {
    socket: {
      resetAndDestroy() {
        state.isCut = true;
        response.emit('close');
      },
    },
  });
  return { response: response as unknown as ServerResponse, state, taken: () => response.emit('close') };
}

it('cuts those that have waited longest, as few as there must be, and never the newest', () => {
  const held = createHeldAnswers(100);
  const answers = [50, 40, 30, 60, 500].map((length) => ({ ...answer(), length }));
  const cut = () => answers.map(({ state }) => state.isCut);
  const hold = (index: number) => {
    const one = answers[index];
    if (one !== undefined) held.hold(one.response, new Uint8Array(one.length));
  };
  hold(0);
  hold(1);
  expect(cut()).toEqual([false, false, false, false, false]);
  hold(2);
  expect(cut()).toEqual([true, false, false, false, false]);
  hold(3);
  expect(cut()).toEqual([true, true, false, false, false]);
  hold(4);
  expect(cut()).toEqual([true, true, true, true, false]);
});

it('counts what was taken no more, and a page that answers share once', () => {
  const held = createHeldAnswers(100);
  const page = new Uint8Array(90);
  const sharing = [answer(), answer(), answer()];
  for (const { response } of sharing) held.hold(response, page);
  const own = answer();
  for (const { taken } of sharing) taken();
  held.hold(own.response, new Uint8Array(90));
  expect([...sharing, own].map(({ state }) => state.isCut)).toEqual([false, false, false, false]);
});

it('counts every part of an answer, and a part that answers share once', () => {
  const held = createHeldAnswers(100);
  const part = new Uint8Array(40);
  const [slow, next, last] = [answer(), answer(), answer()];
  held.hold(slow.response, new Uint8Array(25), part);
  held.hold(next.response, new Uint8Array(25), part);
  expect([slow, next, last].map(({ state }) => state.isCut)).toEqual([false, false, false]);
  held.hold(last.response, new Uint8Array(11));
  expect([slow, next, last].map(({ state }) => state.isCut)).toEqual([true, false, false]);
});
