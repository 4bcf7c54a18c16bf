import type { Crew } from './crew.ts';
import type { Place } from './launch.ts';
import type { ClientName } from './mesh.ts';
import { askEveryMs, clientNames } from './mesh.ts';
import type { Program } from './program.ts';

/** Where a client is, what it asks, and what it says. */
export interface ClientPlan {
  readonly place: Place;
  readonly urls: readonly string[];
  readonly text: string;
}

export type TrafficPlan = Readonly<Record<ClientName, ClientPlan>>;

/** The clients at work. */
export interface Traffic {
  /** Lets them finish what they have begun. */
  end(): Promise<void>;
}

export function startTraffic(crew: Crew, plan: TrafficPlan): Traffic {
  const clients = clientNames.map((name): Program => {
    const { place, text, urls } = plan[name];
    return crew.followClient(name, place.application('client', [text, String(askEveryMs[name]), ...urls]));
  });
  return {
    async end() {
      await Promise.all(clients.map((client) => client.stop()));
    },
  };
}
