import { watch } from 'node:fs';
import type { Clock, Timer } from '../../clock.ts';
import { ConfigurationError, messageOf } from '../../errors.ts';
import type { Log } from '../../log.ts';
import { objectsBeforeRegistry } from '../policy/before-registry.ts';
import { createChangesLog } from './changes-log.ts';
import type { FileState, LoadResult, MeshNames, RegistryReader } from './files.ts';
import { createRegistryReader, listFiles } from './files.ts';
import type { FileNote } from './note.ts';
import { noteText } from './note.ts';
import { createNotesLog } from './notes-log.ts';
import type { RegistryObjects } from './objects.ts';
import type { Store } from './store.ts';
import { brokenText } from './yaml.ts';

export interface DirectoryStoreSettings extends MeshNames {
  readonly path: string;
  /** How often the files are looked at even when the kernel reports no change: network file systems report none. */
  readonly pollIntervalMs: number;
  /** A burst of changes is read once, this long after its last. */
  readonly debounceMs: number;
  /** It may have no object at the start; until it has one nobody is permitted anything. */
  readonly isOptional?: boolean | undefined;
}

export const directoryStoreDefaults = { pollIntervalMs: 5_000, debounceMs: 200 } as const;

export interface DirectoryStoreCollaborators {
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A directory of Kubernetes YAML as a registry. It is taken as a whole or not at all: while one file is broken the last
 * good state of all of them stays, and while there is no object at all: that would be a mesh without policy, open to
 * everybody. Throws `ConfigurationError` with every problem when the first read fails.
 */
export async function openDirectoryStore(
  { clock, log }: DirectoryStoreCollaborators,
  settings: DirectoryStoreSettings,
): Promise<Store> {
  const { path, pollIntervalMs, debounceMs } = settings;
  const reader = createRegistryReader(settings);
  const listeners = new Set<(objects: RegistryObjects) => void>();
  const reportNotes = createNotesLog(log);
  const first = await readFirst(settings, reader, log);
  let { objects, fingerprint: seen } = first;
  reportNotes(first.notes);
  const reportChanges = createChangesLog(clock, log);
  let lastFailure = '';
  let pollTimer: Timer | undefined;
  let soonTimer: Timer | undefined;
  let running: Promise<void> | undefined;
  let isClosed = false;

  const poll = () => {
    if (!isClosed) pollTimer = clock.after(pollIntervalMs, poll);
    look();
  };
  /** The poll goes on meanwhile, so that changes without end cannot put the read off for ever. */
  const lookSoon = () => {
    soonTimer?.cancel();
    if (!isClosed) soonTimer = clock.after(debounceMs, look);
  };
  /** One look at a time: a second one waits until the first is over. */
  const look = () => {
    if (running === undefined) running = lookOnce();
    else lookSoon();
  };
  const lookOnce = async () => {
    try {
      await refresh();
      lastFailure = '';
    } catch (error) {
      const why = messageOf(error);
      if (why !== lastFailure) log.error({ path, why }, 'The registry cannot be read, its last good state stays');
      lastFailure = why;
    }
    running = undefined;
  };
  const refresh = async () => {
    const files = await listFiles(path);
    const fingerprint = fingerprintOf(files);
    if (fingerprint === seen) return;
    const result = await reader.load(files);
    // A file that changed while it was read is read again; what was read may be half of it.
    if (fingerprintOf(await listFiles(path)) !== fingerprint) return lookSoon();
    if (isEmpty(result)) throw new ConfigurationError(emptyText(path));
    seen = fingerprint;
    if (result.kind === 'broken') return reportProblems(result.problems, log);
    reportObjects(result, path, log);
    reportNotes(result.notes);
    reportChanges(objects, result.objects);
    objects = result.objects;
    for (const listener of listeners) listener(objects);
  };

  const stopWatching = watchDirectory(path, log, lookSoon);
  pollTimer = clock.after(pollIntervalMs, poll);
  return {
    current: () => objects,
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      isClosed = true;
      stopWatching();
      pollTimer?.cancel();
      soonTimer?.cancel();
      await running;
    },
  };
}

async function readFirst(
  { path, rootNamespace, isOptional = false }: DirectoryStoreSettings,
  reader: RegistryReader,
  log: Log,
) {
  const files = await listFiles(path).catch((error: unknown) => {
    throw new ConfigurationError(`Cannot read the registry ${path}: ${messageOf(error)}`, { cause: error });
  });
  const result = await reader.load(files);
  if (result.kind === 'broken') throw new ConfigurationError(result.problems.map(placed));
  if (isEmpty(result)) {
    if (!isOptional) throw new ConfigurationError(emptyText(path));
    log.warn({ path }, 'The registry has no object yet, every destination is unknown and everybody is refused');
    return { objects: objectsBeforeRegistry(rootNamespace), notes: [], fingerprint: fingerprintOf(files) };
  }
  reportObjects(result, path, log);
  return { objects: result.objects, notes: result.notes, fingerprint: fingerprintOf(files) };
}

function isEmpty(result: LoadResult): boolean {
  return (
    result.kind === 'loaded' &&
    Object.values(result.objects).every((objects: readonly unknown[]) => objects.length === 0)
  );
}

const emptyText = (path: string) =>
  `The registry ${path} has no object, expected at least one in its *.yaml, *.yml and *.json files`;

const placed = (note: FileNote) => noteText({ ...note, kind: '', name: '', why: brokenText(note) });

function reportProblems([first, ...others]: readonly FileNote[], log: Log): void {
  if (first === undefined) return;
  const { file, position, why } = first;
  log.error(
    { file, ...position, why, otherProblems: others.length },
    'The registry is broken, its last good state stays',
  );
}

function reportObjects({ objects, ignored }: Extract<LoadResult, { kind: 'loaded' }>, path: string, log: Log): void {
  const { pods, services, endpointSlices, peerAuthentications, authorizationPolicies, serviceEntries } = objects;
  const counts = {
    pods: pods.length,
    services: services.length,
    endpointSlices: endpointSlices.length,
    policies: peerAuthentications.length + authorizationPolicies.length,
    serviceEntries: serviceEntries.length,
  };
  log.info({ path, ...counts }, 'Registry read');
  if (ignored.length > 0) log.debug({ path, kinds: ignored }, 'The registry holds kinds that are not read');
}

function fingerprintOf(files: readonly FileState[]): string {
  return files.map(({ fingerprint }) => fingerprint).join('\n');
}

/** Without the kernel's reports, for want of watches for example, the poll finds every change a little later. */
function watchDirectory(path: string, log: Log, onChange: () => void): () => void {
  const onFailure = (error: unknown) =>
    log.warn({ path, why: messageOf(error) }, 'The registry cannot be watched, it is polled');
  try {
    const watcher = watch(path, { persistent: false }, onChange);
    watcher.on('error', onFailure);
    return () => watcher.close();
  } catch (error) {
    onFailure(error);
    return () => undefined;
  }
}
