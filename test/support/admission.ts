import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Operation } from 'rfc6902';
import { applyPatch } from 'rfc6902';
import type { AdmissionReply } from '../../src/injector/admission.ts';
import type { InjectionSettings } from '../../src/injector/settings.ts';
import { readInjectionSettings } from '../../src/injector/settings.ts';

const folder = resolve(import.meta.dirname, '../golden/admission');

/** The file of an operator who gives what must be given. */
export const injectionText = 'image: registry.example.com/remora:0.1.0\nmeshNetworks: [10.0.0.0/8]\n';

export const injectionSettings: InjectionSettings = readInjectionSettings({
  path: 'injection.yaml',
  text: injectionText,
});

// biome-ignore lint/suspicious/noExplicitAny: a test changes any place of a review, also to what it must never be
export type Review = any;

/** An AdmissionReview as kube-apiserver v1.33.13 sent it (v1beta1: composed); a copy of its own for each call. */
export function recordedReview(name: string): Review {
  return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
}

/** What the API server makes of an object with the reply: the object itself when there is no patch. */
export function patchedBy<T>(reply: AdmissionReply, object: T): T {
  const { patch } = reply.response;
  if (patch === undefined) return object;
  const copy = structuredClone(object);
  const operations = JSON.parse(Buffer.from(patch, 'base64').toString()) as Operation[];
  const errors = applyPatch(copy, operations).filter((error) => error !== null);
  if (errors.length > 0) throw errors[0];
  return copy;
}
