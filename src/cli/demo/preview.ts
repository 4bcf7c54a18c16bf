import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import * as v from 'valibot';
import { parseJson } from '../../control-api.ts';
import { FailureError } from '../../errors.ts';
import type { Place } from './launch.ts';
import type { Previewed } from './mesh.ts';

const previewedCaller = v.object({
  address: v.string(),
  namespace: v.optional(v.string()),
  workload: v.optional(v.string()),
  connections: v.number(),
});
type Caller = v.InferOutput<typeof previewedCaller>;

/** Of what `remora strict-preview --json` prints. */
const preview = v.object({
  ports: v.array(
    v.object({
      port: v.number(),
      callers: v.array(previewedCaller),
    }),
  ),
});

/** Asks a sidecar whom STRICT would cut off, as an operator would beside it. Throws `FailureError` when it does not answer. */
export async function previewOf(place: Place): Promise<readonly Previewed[]> {
  const child = place.remora(['strict-preview', '--json']);
  const [said, complaint] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => text(stream ?? Readable.from([]))),
  );
  let read: v.InferOutput<typeof preview>;
  try {
    read = parseJson(preview, said ?? '');
  } catch (error) {
    throw new FailureError(`remora strict-preview failed: ${complaint?.trim() || said?.trim()}`, { cause: error });
  }
  return read.ports.flatMap(({ port, callers }) => {
    const byName = Object.entries(Object.groupBy(callers, nameOf));
    return byName.map(([caller, its = []]) => ({
      port,
      caller,
      connections: its.reduce((sum, { connections }) => sum + connections, 0),
    }));
  });
}

/** A pod calls from an address of each family. */
function nameOf({ address, namespace, workload }: Caller): string {
  return namespace === undefined || workload === undefined ? address : `${namespace}/${workload}`;
}
