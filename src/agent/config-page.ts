import type { ConfigPage } from '../admin-api.ts';
import type { AppProbe } from '../app-probes.ts';
import { describeOrigin } from '../config/given.ts';
import { flagOf } from '../config/setting.ts';
import { agentTable } from '../config/table.ts';
import type { AgentSettings, Origins } from '../config.ts';

export interface ConfigShown {
  readonly settings: AgentSettings;
  readonly origins: Origins;
}

/** Every setting with its value and where that came from. Files are shown by their paths, and never by what is in them. */
export function configPageOf({ settings, origins }: ConfigShown): ConfigPage {
  const values: Readonly<Record<string, unknown>> = withoutSecrets(settings);
  const shown = Object.entries(agentTable).map(([name, { kind }]) => {
    const value = values[`${name}${kind.suffix}`];
    const text = value === undefined ? null : (kind.show as (value: unknown) => string)(value);
    return [name, { value: text, from: describeOrigin(origins[name as keyof Origins]) }];
  });
  return { settings: Object.fromEntries(shown) };
}

/** A setting that was given, and is not what it is by default. */
export interface ChangedSetting {
  readonly name: string;
  /** As a person types it, without what may be secret: `--max-connections 2`. */
  readonly typed: string;
  /** As on the page of all settings. */
  readonly from: string;
}

/** In the order of the page. What depends on other settings by default, as `capture` does, counts once it is given. */
export function changedSettings(config: ConfigShown): ChangedSetting[] {
  const { settings } = configPageOf(config);
  return Object.entries(agentTable).flatMap(([name, { kind, default: usual }]) => {
    const { value, from } = settings[name] ?? { value: null, from: '' };
    const isUsual = usual !== undefined && value === (kind.show as (value: unknown) => string)(usual);
    const isGiven = config.origins[name as keyof Origins].kind !== 'default';
    return isGiven && !isUsual ? [{ name, typed: `--${flagOf(name)} ${value ?? ''}`, from }] : [];
  });
}

const hidden = '[hidden]';

/** The kubelet, and a Prometheus, may have to show an application a password. */
function withoutSecrets(settings: AgentSettings): AgentSettings {
  const { appProbes, appMetrics } = settings;
  const probes = Object.entries(appProbes).map(([path, probe]) => [path, withoutHeaderValues(probe)]);
  return {
    ...settings,
    appProbes: Object.fromEntries(probes),
    appMetrics: appMetrics && { ...appMetrics, path: withoutQuery(appMetrics.path) },
  };
}

function withoutHeaderValues(probe: AppProbe): AppProbe {
  if (!('httpGet' in probe)) return probe;
  const { httpGet } = probe;
  const httpHeaders = httpGet.httpHeaders.map(({ name }) => ({ name, value: hidden }));
  return { ...probe, httpGet: { ...httpGet, path: withoutQuery(httpGet.path), httpHeaders } };
}

function withoutQuery(path: string): string {
  const at = path.indexOf('?');
  return at === -1 ? path : `${path.slice(0, at)}?${hidden}`;
}
