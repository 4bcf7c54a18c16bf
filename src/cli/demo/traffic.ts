import type { Crew } from './crew.ts';
import type { Place } from './launch.ts';
import { askEveryMs } from './mesh.ts';
import type { Program } from './program.ts';

/** What the two clients ask, and what they say. */
export interface TrafficPlan {
  readonly webPlace: Place;
  readonly webUrls: readonly string[];
  readonly webText: string;
  readonly legacyPlace: Place;
  readonly legacyUrls: readonly string[];
  readonly legacyText: string;
}

/** Two clients at work. */
export interface Traffic {
  /** Lets them finish what they have begun. */
  end(): Promise<void>;
}

export function startTraffic(crew: Crew, plan: TrafficPlan): Traffic {
  const client = (name: 'web' | 'legacy', place: Place, text: string, urls: readonly string[]): Program =>
    crew.followClient(name, place.application('client', [text, String(askEveryMs[name]), ...urls]));
  const web = client('web', plan.webPlace, plan.webText, plan.webUrls);
  const legacy = client('legacy', plan.legacyPlace, plan.legacyText, plan.legacyUrls);
  return {
    async end() {
      await Promise.all([web.stop(), legacy.stop()]);
    },
  };
}
