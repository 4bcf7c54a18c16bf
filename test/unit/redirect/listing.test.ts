import { describe, expect, test } from 'vitest';
import { readListing } from '../../../src/redirect/listing.ts';

const own = `table inet remora {
	comment "remora sha256:abc"
	set outbound_exclude_ports {
		type inet_service
		flags interval
		auto-merge
		elements = { 22 }
	}

	chain outbound {
		type nat hook output priority -101; policy accept;
		meta l4proto != tcp counter packets 7 bytes 420 return comment "Other than TCP leaves as it is"
		meta l4proto tcp counter packets 3 bytes 180 redirect to :15001 comment "Everything else"
	}
}
`;

const withComment = (text: string) =>
  `table inet x {\n\tchain output {\n\t\ttype nat hook output priority -100; policy accept;\n\t\t${text}\n\t}\n}\n`;

describe('what nft lists', () => {
  test('nothing', () => {
    expect(readListing('')).toEqual({ own: undefined, otherRedirects: [] });
  });

  test('our table, by its hash and the comments of its rules in order', () => {
    expect(readListing(own)).toEqual({
      own: { hash: 'abc', comments: ['Other than TCP leaves as it is', 'Everything else'], listing: own },
      otherRedirects: [],
    });
  });

  test('our table between others, without a line of theirs', () => {
    const before = 'table ip a {\n\tchain c {\n\t\tcounter packets 0 bytes 0 comment "Everything else"\n\t}\n}\n';
    const { own: found } = readListing(`${before}${own}table ip6 b {\n}\n`);
    expect(found?.listing).toBe(own);
    expect(found?.comments).toHaveLength(2);
  });

  test('a table of our name that is not ours has no hash', () => {
    expect(readListing('table inet remora {\n}\n').own).toMatchObject({ hash: undefined, comments: [] });
    expect(readListing('table inet remora {\n\tcomment "by hand"\n}\n').own?.hash).toBeUndefined();
    expect(readListing('table ip remora {\n\tcomment "remora sha256:abc"\n}\n').own).toBeUndefined();
    expect(readListing('table inet remora2 {\n\tcomment "remora sha256:abc"\n}\n').own).toBeUndefined();
  });

  test('a hash in the comment of a rule is not the hash of the table', () => {
    const forged =
      'table inet remora {\n\tchain c {\n\t\tcounter packets 0 bytes 0 comment "remora sha256:abc"\n\t}\n}\n';
    expect(readListing(forged).own?.hash).toBeUndefined();
  });

  test.each([
    'tcp dport 80 redirect to :8080',
    'meta l4proto tcp counter packets 5 bytes 300 redirect to :15001',
    'meta l4proto tcp redirect',
    'meta l4proto tcp tproxy to :15006',
    'meta l4proto tcp counter packets 0 bytes 0 xt target "REDIRECT"',
    'meta l4proto tcp counter packets 0 bytes 0 # xt_TPROXY',
  ])('a redirect of others: %s', (rule) => {
    expect(readListing(withComment(rule)).otherRedirects).toEqual([`table inet x, chain output: ${rule}`]);
  });

  test.each([
    'ip daddr 127.0.0.11 udp dport 53 counter packets 0 bytes 0 dnat to 127.0.0.11:41234',
    'jump ISTIO_REDIRECT',
    'tcp dport 80 accept comment "nothing to redirect"',
    'oifname "redirect" accept',
    'masquerade',
  ])('no redirect: %s', (rule) => {
    expect(readListing(withComment(rule)).otherRedirects).toEqual([]);
  });

  test('a chain or a set that is called redirect is none', () => {
    const text = 'table ip redirect {\n\tset redirect {\n\t\ttype ipv4_addr\n\t}\n\n\tchain redirect {\n\t}\n}\n';
    expect(readListing(text).otherRedirects).toEqual([]);
  });
});
