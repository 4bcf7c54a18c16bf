import type { AppProbes } from '../app-probes.ts';
import { formatAppProbes, parseAppProbes } from '../app-probes.ts';
import type { Kind } from './kinds.ts';

/** The probes of the applications, as `remora inject` writes them. */
export const appProbes: Kind<AppProbes> = {
  name: 'a list of probes',
  expected: 'a JSON object of probes by path',
  placeholder: 'json',
  suffix: '',
  inFile: 'string',
  isList: false,
  read([text = '']) {
    const parsed = parseAppProbes(text);
    return parsed.kind === 'value' ? parsed : { kind: 'bad', text, expected: parsed.expected };
  },
  show: formatAppProbes,
  suggest: () => undefined,
};
