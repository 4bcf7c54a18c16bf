import type { ConfigPage } from '../admin-api.ts';
import type { AppProbe, AppProbes } from '../app-probes.ts';
import { describeOrigin } from '../config/given.ts';
import { agentTable } from '../config/table.ts';
import type { AgentSettings, Origins } from '../config.ts';

export interface ConfigShown {
  readonly settings: AgentSettings;
  readonly origins: Origins;
}

const hidden = '[hidden]';

/** Every setting with its value and where that came from. Files are shown by their paths, and never by what is in them. */
export function configPageOf({ settings, origins }: ConfigShown): ConfigPage {
  const values: Readonly<Record<string, unknown>> = { ...settings, appProbes: withoutSecrets(settings.appProbes) };
  const shown = Object.entries(agentTable).map(([name, { kind }]) => {
    const value = values[`${name}${kind.suffix}`];
    const text = value === undefined ? null : (kind.show as (value: unknown) => string)(value);
    return [name, { value: text, from: describeOrigin(origins[name as keyof Origins]) }];
  });
  return { settings: Object.fromEntries(shown) };
}

/** The kubelet may have to show an application a password. */
function withoutSecrets(probes: AppProbes): AppProbes {
  return Object.fromEntries(Object.entries(probes).map(([path, probe]) => [path, withoutHeaderValues(probe)]));
}

function withoutHeaderValues(probe: AppProbe): AppProbe {
  if (!('httpGet' in probe)) return probe;
  const { httpGet } = probe;
  const [path = ''] = httpGet.path.split('?', 1);
  return {
    ...probe,
    httpGet: {
      ...httpGet,
      path: path === httpGet.path ? path : `${path}?${hidden}`,
      httpHeaders: httpGet.httpHeaders.map(({ name }) => ({ name, value: hidden })),
    },
  };
}
