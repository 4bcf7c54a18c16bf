import { createCommand, parseCommandLine } from '../../command-line.ts';
import { exitCodes, FailureError } from '../../errors.ts';
import type { Subcommand } from '../../host.ts';
import { counted } from '../../phrases.ts';
import { printableJson } from '../../printable.ts';
import { adminSocketOf, callAdmin } from '../admin-client.ts';
import type { MeshStatus } from './status.ts';
import { maxMeshReplyBytes, meshPaths, meshStatus } from './status.ts';
import { edgesText, meshText, otherPodText, podText } from './text.ts';

interface Options {
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly edges?: true;
  readonly json?: true;
}

/**
 * `remora mesh`: every sidecar that a control plane knows to be alive, as it reported itself. Exits with 0; with 1 when it
 * knows no such pod, and with 69 when no control plane answers.
 */
export const run: Subcommand = async (host) => {
  const parsed = parseCommandLine<Options>(commandLine(), host);
  if (parsed.kind === 'done') return parsed.exitCode;
  const { edges, json, ...place } = parsed.options;
  const mesh = await callAdmin(adminSocketOf(place), meshPaths.sidecars, meshStatus, undefined, maxMeshReplyBytes);
  const [name] = parsed.arguments;
  const shown = name === undefined ? mesh : onlyOf(mesh, name);
  const lines = edges ? edgesText(shown) : name === undefined ? meshText(shown) : podText(shown);
  host.stdout.write(json ? `${printableJson(shown, 2)}\n` : `${lines.join('\n')}\n`);
  return exitCodes.ok;
};

/** A pod by its name, or all of a namespace. */
function onlyOf(mesh: MeshStatus, name: string): MeshStatus {
  const isMeant = ({ pod }: { readonly pod: string }) => pod === name || pod.startsWith(`${name}/`);
  const [sidecars, otherPods] = [mesh.sidecars.filter(isMeant), mesh.otherPods.filter(isMeant)];
  if (sidecars.length > 0) return { ...mesh, sidecars, otherPods };
  const [first, ...more] = otherPods;
  if (first === undefined)
    throw new FailureError(
      `Neither a sidecar nor the registry of this control plane knows ${name}, expected a namespace or namespace/pod`,
    );
  const rest = more.length === 0 ? '' : `; and so for ${counted(more.length, 'more pod')} without a living sidecar`;
  throw new FailureError(`${otherPodText(first)}${rest}`);
}

function commandLine() {
  return createCommand('mesh', 'Lists the sidecars of a mesh as they report themselves to the control plane')
    .argument('[pod]', 'one pod, namespace/name, with everything that it reports; or a namespace')
    .option('--edges', 'who was connected with whom')
    .option('--json', 'print JSON')
    .option('--state-dir <directory>', 'state directory of the control plane')
    .option('--admin-socket <path>', 'its admin socket, where that is not in the state directory');
}
