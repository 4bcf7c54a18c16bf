import { splitList } from './flags.ts';
import type { GivenSet } from './given.ts';
import { shown } from './given.ts';
import { nearest } from './nearest.ts';
import { variableOf } from './setting.ts';
import type { SettingName } from './table.ts';
import { agentTable } from './table.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Names the YAML file. */
export const configVariable = variableOf('config');

/** Set by the program for itself when it starts again with flags of its own. */
const ownMarkers: ReadonlySet<string> = new Set(['REMORA_NODE_FLAGS_SET']);

const serviceLinkName =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;

/**
 * Whether Kubernetes made this variable for a Service whose name begins with `remora`. `REMORA_X_PORT` is one only with
 * an address as its value, else a mistyped port of ours would pass.
 */
function isServiceLink(variable: string, text: string | undefined): boolean {
  return serviceLinkName.test(variable) || (variable.endsWith('_PORT') && /^(?:tcp|udp|sctp):\/\//.test(text ?? ''));
}

/** Reads the settings of the environment; a variable of ours that does not exist is a problem, because a typo would be a silent hole. */
export function readVariables(env: Environment): GivenSet<SettingName> {
  const names = new Map(Object.keys(agentTable).map((name) => [variableOf(name), name as SettingName]));
  const own = Object.entries(env).filter(
    ([variable, text]) => variable.startsWith('REMORA_') && text !== undefined && !isServiceLink(variable, text),
  );
  const unknown = own
    .map(([variable]) => variable)
    .filter((variable) => !names.has(variable) && variable !== configVariable && !ownMarkers.has(variable));
  return {
    problems: unknown.map((variable) => unknownVariable(variable, [...names.keys(), configVariable])),
    given: own.flatMap(([variable, text = '']) => {
      const name = names.get(variable);
      if (name === undefined) return [];
      const texts = agentTable[name].kind.isList ? splitList(text) : [text];
      return [{ name, texts, origin: { kind: 'variable', variable } as const }];
    }),
  };
}

function unknownVariable(variable: string, known: readonly string[]): string {
  const meant = nearest(variable, known);
  const hint = meant === undefined ? 'expected one of the settings' : `did you mean ${meant}?`;
  return `${shown(variable)} in the environment is not a setting, ${hint}`;
}
