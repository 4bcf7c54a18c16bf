import { randomBytes } from 'node:crypto';
import { systemClock } from '../../clock.ts';
import type { Host } from '../../host.ts';
import type { Crew } from './crew.ts';
import { createCrew } from './crew.ts';
import type { Folder } from './folder.ts';
import { createFolder } from './folder.ts';
import { demoName, startJanitor, sweep } from './janitor.ts';
import { findLeftovers, ruleTables, runVariable } from './leftovers.ts';
import type { Mesh, MeshParts } from './mesh.ts';
import type { DemoOptions } from './options.ts';
import type { Presenter } from './presenter.ts';
import type { Stop } from './stop.ts';
import { findSurroundings } from './surroundings.ts';

/** What is left when a mesh is gone. */
export interface Aftermath<Result> {
  /** Undefined when it was stopped before. */
  readonly result: Result | undefined;
  /** What the clean-up has left behind, a few words each. */
  readonly leftovers: readonly string[];
}

/** Where root's tools are, which are not on the PATH after `su`. */
const administrativeFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/** Long enough that it appears nowhere by chance. */
const markerBytes = 24;

/**
 * Makes a mesh, starts it, hands it over, and removes everything whatever happens, also what an earlier demo left behind.
 * Being asked to stop is a result, everything else that fails is thrown once the mesh is gone.
 */
export async function withMesh<Result>(
  host: Host,
  { loopback }: DemoOptions,
  stop: Stop,
  presenter: Presenter,
  use: (running: { readonly mesh: Mesh; readonly crew: Crew; readonly folder: Folder }) => Promise<Result>,
): Promise<Aftermath<Result>> {
  const clock = systemClock;
  const name = demoName(host.pid);
  // Nothing else of the environment: a stray variable must not change what is shown.
  const env = { PATH: searchPath(host.env.PATH), [runVariable]: name };
  await sweep(host.pid, env);
  const makeMesh = await chooseMesh(loopback, presenter, { uid: host.uid, env });
  const rulesBefore = await ruleTables(env);
  const crew = createCrew(clock);
  const folder = await createFolder(name);
  const janitor = startJanitor(name, [folder.path], env);
  const markers = { mesh: randomBytes(markerBytes).toString('hex'), legacy: randomBytes(markerBytes).toString('hex') };
  const { program, uid } = host;
  const mesh = makeMesh({ name, program, uid, env, clock, folder, crew, markers });
  let result: Result | undefined;
  try {
    presenter.say('Starting the mesh');
    await mesh.start(stop.signal);
    result = await use({ mesh, crew, folder });
  } catch (error) {
    // Ctrl-C reaches the processes of the mesh as well, so that they may end a moment before we hear of it.
    if (stop.reason() === undefined) await clock.sleep(signalRaceMs);
    if (stop.reason() === undefined) throw error;
  } finally {
    presenter.say('Removing the mesh');
    await mesh.remove();
    await folder.remove();
    await janitor.dismiss();
  }
  return { result, leftovers: await findLeftovers(name, rulesBefore, env) };
}

const signalRaceMs = 100;

async function chooseMesh(
  isLoopbackWanted: boolean,
  presenter: Presenter,
  machine: Pick<MeshParts, 'uid' | 'env'>,
): Promise<(parts: MeshParts) => Mesh> {
  if (!isLoopbackWanted) {
    const surroundings = await findSurroundings(machine);
    if (surroundings.kind === 'namespaces') return (await import('./namespace-mesh.ts')).createNamespaceMesh;
    presenter.say(
      `Network namespaces are not permitted here (${surroundings.why}), so the mesh runs on loopback and captures nothing`,
    );
  }
  return (await import('./loopback-mesh.ts')).createLoopbackMesh;
}

/** Without an empty element, which would mean the working directory. */
function searchPath(path = ''): string {
  return [...path.split(':').filter(Boolean), ...administrativeFolders].join(':');
}
