import type { RequestListener } from 'node:http';
import type { ApiParts } from './api-calls.ts';
import { createCalls } from './api-calls.ts';
import { createRouter } from './router.ts';

/** Answers every request of the API. */
export function createApi(parts: ApiParts): RequestListener {
  return createRouter(parts, createCalls(parts));
}
