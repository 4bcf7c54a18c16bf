import type { CertificateSpec } from '../certificates.ts';
import { makeAuthority, makeCertificate, nameConstraints } from '../certificates.ts';
import { commonName, context, der, integer, oid, sequence, tags } from '../der-writer.ts';
import type { LimboCase } from './chain.ts';
import { below, chainOf, leafSpec, limboDomain, rootWith, withExtension } from './chain.ts';

const uriTag = 6;
const limits = (constraints: Parameters<typeof nameConstraints>[0]) => ({ extensions: [nameConstraints(constraints)] });
const permitted = (...hosts: string[]) => limits({ permitted: hosts });
const excluded = (...hosts: string[]) => limits({ excluded: hosts });
/** The value as it is, whatever it holds. */
const raw = (...contents: Uint8Array[]) => withExtension('2.5.29.30', sequence(...contents));
const subtree = (tag: number, base: Uint8Array, ...more: Uint8Array[]) => sequence(context(tag, false, base), ...more);
const host = Buffer.from(limboDomain);
const dirName = (name: string) => sequence(context(4, true, commonName(name)));
const uri = leafSpec().sans ?? [];
const inside = (trustDomain: string, constraints: CertificateSpec) => () =>
  chainOf({ intermediates: [constraints], trustDomain });

/** What a name constraint on an authority lets its leaves be called (RFC 5280 §4.2.1.10). */
export const nameCases: readonly LimboCase[] = [
  ['a permitted host is itself', below(permitted(limboDomain)), 'accepted'],
  ['a permitted host in capitals is the same host', below(permitted('CLUSTER.Local')), 'accepted'],
  ['one of several permitted hosts is enough', below(permitted('a.example', limboDomain, 'b.example')), 'accepted'],
  ['another permitted host is not ours', below(permitted('other.example')), 'name_constraint'],
  ['a permitted host stands for nothing below it', inside('east.local', permitted('local')), 'name_constraint'],
  ['a leading dot stands for what is below', inside('east.local', permitted('.local')), 'accepted'],
  ['a leading dot does not stand for the host itself', below(permitted(`.${limboDomain}`)), 'name_constraint'],
  ['a host that ends alike is another', below(permitted('luster.local')), 'name_constraint'],
  ['an empty permitted host permits nothing', below(permitted('')), 'name_constraint'],
  ['a URI is no host, and permits nothing', below(permitted(`spiffe://${limboDomain}`)), 'name_constraint'],
  ['an excluded host is itself', below(excluded(limboDomain)), 'name_constraint'],
  ['an excluded host in capitals is the same host', below(excluded('CLUSTER.local')), 'name_constraint'],
  ['an excluded leading dot is what is below', inside('east.local', excluded('.local')), 'name_constraint'],
  ['another excluded host is not ours', below(excluded('other.example', `.${limboDomain}`, 'local')), 'accepted'],
  ['an empty excluded host excludes everything', below(excluded('')), 'name_constraint'],
  ['an excluded URI is no host, so it excludes everything', below(excluded('spiffe://other')), 'name_constraint'],
  ['an excluded wildcard is no host, so it excludes everything', below(excluded('*.example')), 'name_constraint'],
  ['a host with a port is no host either', below(excluded('other.example:443')), 'name_constraint'],
  [
    'what is excluded is not permitted',
    below(limits({ permitted: [limboDomain], excluded: [limboDomain] })),
    'name_constraint',
  ],
  [
    'a constraint that is not critical holds all the same',
    below(withExtension('2.5.29.30', nameConstraints({ permitted: ['other.example'] }).value, false)),
    'name_constraint',
  ],
  ['a root is held to its own constraints', rootWith(permitted('other.example')), 'name_constraint'],
  ['a root that permits us does', rootWith(permitted(limboDomain)), 'accepted'],
  [
    'an upper constraint is not widened by a lower one',
    () => chainOf({ intermediates: [permitted('other.example'), permitted(limboDomain)] }),
    'name_constraint',
  ],
  [
    'a lower constraint narrows an upper one',
    () => chainOf({ intermediates: [permitted(limboDomain), excluded(limboDomain)] }),
    'name_constraint',
  ],
  ['a constraint on a self-issued authority holds', selfIssued(permitted('other.example')), 'name_constraint'],
  ['a constraint in a leaf is about nobody', () => chainOf({ leaf: permitted('other.example') }), 'accepted'],
  [
    'names of hosts are constrained, an ID is none',
    below(limits({ permitted: ['a.example'], nameTag: 2 })),
    'accepted',
  ],
  ['excluding every name of a host leaves IDs alone', below(limits({ excluded: [''], nameTag: 2 })), 'accepted'],
  ['mail is constrained, an ID is none', below(limits({ permitted: ['a.example'], nameTag: 1 })), 'accepted'],
  [
    'addresses are constrained, an ID is none',
    below(raw(context(0, true, subtree(7, Buffer.of(10, 0, 0, 0, 255, 0, 0, 0))))),
    'accepted',
  ],
  [
    'registered IDs are constrained, an ID of SPIFFE is none',
    below(raw(context(0, true, subtree(8, Buffer.of(0x2a, 3))))),
    'accepted',
  ],
  ['a subject is constrained, an empty one is none', below(raw(context(0, true, dirName('other')))), 'accepted'],
  [
    'a subject that is excluded: OpenSSL sees to names that we never use',
    below(raw(context(1, true, dirName('peer'))), { subject: 'peer' }),
    'accepted',
    'untrusted',
  ],
  [
    'a name of a host that is not permitted: OpenSSL sees to it',
    below(limits({ permitted: ['a.example'], nameTag: 2 }), { sans: [...uri, { dns: 'b.example' }] }),
    'accepted',
    'untrusted',
  ],
  [
    'an address that is not permitted: OpenSSL sees to it',
    below(raw(context(0, true, subtree(7, Buffer.of(10, 0, 0, 0, 255, 0, 0, 0)))), {
      sans: [...uri, { ip: [192, 0, 2, 1] }],
    }),
    'accepted',
    'untrusted',
  ],
  [
    'the ID of an intermediate below a constraint: OpenSSL sees to it',
    () => chainOf({ intermediates: [permitted(limboDomain), { sans: [{ uri: 'spiffe://other.example' }] }] }),
    'accepted',
    'untrusted',
  ],
  ['no constraint at all within the extension is malformed', below(raw()), 'untrusted'],
  ['an empty list of what is permitted is malformed, and not everything', below(raw(context(0, true))), 'untrusted'],
  [
    'an empty list of what is excluded is malformed',
    below(raw(context(0, true, subtree(uriTag, host)), context(1, true))),
    'untrusted',
  ],
  [
    'a minimum is not allowed',
    below(raw(context(0, true, subtree(uriTag, host, context(0, false, Buffer.of(1)))))),
    'untrusted',
  ],
  [
    'nor is the minimum of zero, which DER leaves out',
    below(raw(context(0, true, subtree(uriTag, host, context(0, false, Buffer.of(0)))))),
    'untrusted',
  ],
  [
    'a maximum is not allowed',
    below(raw(context(0, true, subtree(uriTag, host, context(1, false, Buffer.of(9)))))),
    'untrusted',
  ],
  ['a constraint is a SEQUENCE', below(raw(context(0, true, context(uriTag, false, host)))), 'untrusted'],
  [
    'what is excluded comes after what is permitted',
    below(raw(context(1, true, subtree(uriTag, host)), context(0, true, subtree(uriTag, host)))),
    'untrusted',
  ],
  ['nothing comes after the constraints', below(raw(context(0, true, subtree(uriTag, host)), integer(1))), 'untrusted'],
  [
    'constraints are a SEQUENCE',
    below(withExtension('2.5.29.30', der(tags.set, context(0, true, subtree(uriTag, host))))),
    'untrusted',
  ],
  ['another name than a GeneralName is malformed', below(raw(context(0, true, sequence(oid('1.2.3'))))), 'untrusted'],
];

/** A leaf below an authority that was issued by one of the same name, with this on the lower one. */
function selfIssued(spec: CertificateSpec): LimboCase[1] {
  return () => {
    const upper = chainOf({ intermediates: [{ subject: 'same' }] });
    const [issuer] = upper.intermediates;
    const lower = makeAuthority({ subject: 'same', issuer: issuer!, ...spec });
    const leaf = makeCertificate({ issuer: lower, ...leafSpec() });
    return { ...upper, leaf, intermediates: [lower, issuer!] };
  };
}
