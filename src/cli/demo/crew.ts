import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../../clock.ts';
import type { ClientFacts } from './client-report.ts';
import { readClientReport, silentClient } from './client-report.ts';
import type { Program } from './program.ts';
import { followProgram } from './program.ts';
import type { SidecarLog } from './sidecar-log.ts';
import { createSidecarLog } from './sidecar-log.ts';

/** The processes of a mesh and what they have said. */
export interface Crew {
  readonly log: SidecarLog;
  /** By name; what each client last said of itself. */
  clients(): Readonly<Record<string, ClientFacts>>;
  /** A program that must not end by itself. */
  follow(name: string, child: ChildProcess): Program;
  /** A sidecar: its log lines are read. */
  followSidecar(name: string, child: ChildProcess): Program;
  /** A client: its reports are read. */
  followClient(name: string, child: ChildProcess): Program;
  /** Rejects when one of them ends without having been asked to. */
  readonly failure: Promise<never>;
  /** Makes the crew fail for a reason from elsewhere. */
  fail(reason: unknown): void;
}

export function createCrew(clock: Clock): Crew {
  const log = createSidecarLog();
  const clients: Record<string, ClientFacts> = {};
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => undefined);
  const follow = (name: string, child: ChildProcess, onLine?: (line: string) => void) => {
    const program = followProgram(name, child, clock, onLine);
    program.failure.catch(failure.reject);
    return program;
  };
  return {
    log,
    clients: () => ({ ...clients }),
    follow: (name, child) => follow(name, child),
    followSidecar: (name, child) => follow(`The sidecar of ${name}`, child, (line) => log.see(name, line)),
    followClient(name, child) {
      clients[name] = silentClient;
      return follow(`The application ${name}`, child, (line) => {
        clients[name] = readClientReport(line) ?? clients[name] ?? silentClient;
      });
    },
    failure: failure.promise,
    fail: failure.reject,
  };
}
