import * as v from 'valibot';

/** What the demo asks the observer on the link, one JSON object a line; answers carry the same id. */
export const observerQuestion = v.variant('ask', [
  /** A page of a pod, which only processes on the link can reach. */
  v.object({ ask: v.literal('page'), id: v.number(), url: v.string() }),
  /** What the wire has carried since the start. */
  v.object({ ask: v.literal('wire'), id: v.number() }),
]);
export type ObserverQuestion = v.InferOutput<typeof observerQuestion>;

export const observerAnswer = v.variant('answer', [
  v.object({ answer: v.literal('page'), id: v.number(), status: v.number(), body: v.string() }),
  v.object({
    answer: v.literal('wire'),
    id: v.number(),
    frames: v.number(),
    tunnelFrames: v.number(),
    clearBytes: v.record(v.string(), v.number()),
  }),
  v.object({ answer: v.literal('problem'), id: v.number(), why: v.string() }),
]);
export type ObserverAnswer = v.InferOutput<typeof observerAnswer>;

/** What the observer needs to know from the start. */
export const observerSettings = v.object({
  interfaceName: v.pipe(v.string(), v.regex(/^\w+$/)),
  markers: v.record(v.string(), v.string()),
  tunnelPort: v.number(),
});
export type ObserverSettings = v.InferOutput<typeof observerSettings>;

/** The first line that the observer prints, once it sees every frame. */
export const observing = 'observing';
