// Forwards the packets of known RTP flows where they arrive, before any socket sees them. Loaded by src/program.rs.
//
// What it does not know goes up the stack as if it were not there: strangers, other payload types (digits, comfort noise of
// another clock), RTCP, STUN, DTLS, a new SSRC, jumps of the sequence number, fragments, options, padding, extensions. So the
// program decides nothing about a call; it repeats what user space decided, packet by packet.
//
// The layouts below are mirrored by src/layout.rs; both sides assert the same figures, and the loader compares the sizes.

#include <linux/bpf.h>
#include <linux/if_ether.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name
#define SWAP16(x) __builtin_bswap16(x)

// Numbers of helpers: the kernel's ABI (bpf_helper_defs.h is made of the same list).
static void *(*lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*monotonic_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*replace_checksum)(struct __sk_buff *, __u32 offset, __u64 from, __u64 to, __u64 flags) = (void *)BPF_FUNC_l4_csum_replace;
static long (*update_checksum)(struct __sk_buff *, __u32 difference) = (void *)BPF_FUNC_csum_update;
static long (*pull)(struct __sk_buff *, __u32 length) = (void *)BPF_FUNC_skb_pull_data;
static long (*redirect_to_neighbour)(__u32 interface, void *, int, __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static void (*lock)(struct bpf_spin_lock *) = (void *)BPF_FUNC_spin_lock;
static void (*unlock)(struct bpf_spin_lock *) = (void *)BPF_FUNC_spin_unlock;

// How many flows there may be is said by the loader (src/program.rs).
#define SET_BY_LOADER 1
// Of an Ethernet frame. Anything longer might not fit the other side's link; IPv6 takes 1280 everywhere.
#define LONGEST (ETH_HLEN + 1280)
// RFC 3550 A.1, as in daemon/protocol/rtp/src/reception.rs: beyond these a jump is no loss and no disorder.
#define DROPOUT_MAX 3000
#define MISORDER_MAX 100
#define UDP 17
// Verdicts of a TCX program: ask the next one; on to the stack. Headers older than Linux 6.6 do not name them.
#define NEXT (-1)
#define PASS 0
#define FOR_THIS_HOST 0

// IPv4 addresses are written ::ffff:a.b.c.d. Everything as in the packet: network byte order.
struct ends {
	__u32 local[4];
	__u32 peer[4];
	__u16 local_port;
	__u16 peer_port;
	__u32 zero;
};

struct flow {
	struct bpf_spin_lock lock;
	// Where packets of the peer have to come in.
	__u32 ingress;
	// Of whom a packet is: compared again below the lock, for a slot may have got another flow since it was looked up.
	struct ends heard;
	// What the packet gets: from our other leg's port to that leg's peer.
	struct ends said;
	// 0: the peer is on this host.
	__u32 egress;
	// As in the packet.
	__u32 ssrc;
	__u32 clock_hz;
	__u8 tos;
	__u8 zero[3];
	// By payload type, those that both sides name alike.
	__u64 payload_types[2];
	// What follows is counted here.
	__u64 packets;
	__u64 bytes;
	__u64 began_ns;
	__u64 last_ns;
	// The highest sequence number, with the cycles of 2^16 before it.
	__u64 highest;
	// In timestamp units, times 16 (RFC 3550 A.8).
	__u64 jitter;
	__u32 transit;
	__u32 has_transit;
};
_Static_assert(sizeof(struct ends) == 40 && sizeof(struct flow) == 176, "as in src/layout.rs");
_Static_assert(__builtin_offsetof(struct flow, payload_types) == 104, "as in src/layout.rs");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, SET_BY_LOADER);
	TYPE(key, struct ends);
	TYPE(value, __u32);
} slots SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	UINT(max_entries, SET_BY_LOADER);
	TYPE(key, __u32);
	TYPE(value, struct flow);
} flows SEC(".maps");

struct ipv4 {
	__u8 version_length;
	__u8 tos;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 target;
};

struct ipv6 {
	__u32 version_class_label;
	__u16 length;
	__u8 next;
	__u8 hops;
	__u32 source[4];
	__u32 target[4];
};

// UDP, and the twelve fixed bytes of RTP.
struct rtp {
	__u16 source_port;
	__u16 target_port;
	__u16 length;
	__u16 checksum;
	__u8 version_padding_extension_count;
	__u8 marker_type;
	__u16 sequence;
	__u32 timestamp;
	__u32 ssrc;
};

INLINE __u32 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

// Counts a packet and says what becomes of it. False: up the stack, uncounted.
INLINE int count(struct flow *flow, const struct ends *heard, const struct rtp *rtp, __u32 bytes, __u32 ingress,
		 struct ends *said, __u32 *egress, __u8 *tos)
{
	__u16 sequence = SWAP16(rtp->sequence);
	__u32 timestamp = __builtin_bswap32(rtp->timestamp);
	__u32 ssrc = rtp->ssrc;
	__u8 type = rtp->marker_type & 0x7f;
	__u64 now = monotonic_ns();
	const __u64 *a = (const __u64 *)heard;
	int known = 0;

	lock(&flow->lock);
	const __u64 *b = (const __u64 *)&flow->heard;
	__u16 ahead = sequence - (__u16)flow->highest;
	if (a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && flow->ssrc == ssrc &&
	    flow->ingress == ingress && (flow->payload_types[type >> 6] >> (type & 63) & 1) &&
	    (ahead < DROPOUT_MAX || ahead > 0xffff - MISORDER_MAX)) {
		known = 1;
		if (ahead < DROPOUT_MAX)
			flow->highest += ahead;
		flow->packets += 1;
		flow->bytes += bytes;
		flow->last_ns = now;
		// A.8: the difference of two packets' transit times, smoothed by a sixteenth.
		__u64 micros = (now - flow->began_ns) / 1000;
		__u32 transit = (__u32)(micros * flow->clock_hz / 1000000) - timestamp;
		if (flow->has_transit) {
			__s32 distance = (__s32)(transit - flow->transit);
			__u32 spread = distance < 0 ? 0 - (__u32)distance : (__u32)distance;
			flow->jitter = flow->jitter + spread - ((flow->jitter + 8) >> 4);
		}
		flow->transit = transit;
		flow->has_transit = 1;
		*said = flow->said;
		*egress = flow->egress;
		*tos = flow->tos;
	}
	unlock(&flow->lock);
	return known;
}

INLINE struct flow *flow_of(const struct ends *heard)
{
	__u32 *slot = lookup(&slots, heard);
	return slot ? lookup(&flows, slot) : 0;
}

INLINE int is_plain(const struct rtp *rtp)
{
	// Version 2, without padding, extension and contributing sources.
	return rtp->version_padding_extension_count == 0x80 && SWAP16(rtp->length) >= sizeof(*rtp);
}

INLINE int leave(__u32 egress)
{
	return egress == FOR_THIS_HOST ? PASS : (int)redirect_to_neighbour(egress, 0, 0, 0);
}

#define UDP_CHECKSUM __builtin_offsetof(struct rtp, checksum)

INLINE int forward_v4(struct __sk_buff *skb)
{
	const __u32 needed = ETH_HLEN + sizeof(struct ipv4) + sizeof(struct rtp);
	if ((void *)(long)skb->data + needed > (void *)(long)skb->data_end && (skb->len < needed || pull(skb, needed)))
		return NEXT;
	struct ipv4 *ip = (void *)(long)skb->data + ETH_HLEN;
	struct rtp *rtp = (void *)(ip + 1);
	if ((void *)(rtp + 1) > (void *)(long)skb->data_end)
		return NEXT;
	if (ip->version_length != 0x45 || ip->protocol != UDP || ip->ttl <= 1 || (ip->fragment & SWAP16(0x3fff)) || !is_plain(rtp))
		return NEXT;
	__u32 length = SWAP16(ip->length);
	if (length != sizeof(*ip) + SWAP16(rtp->length) || ETH_HLEN + length > skb->len)
		return NEXT;

	const __u32 mapped = __builtin_bswap32(0xffff);
	struct ends heard = { { 0, 0, mapped, ip->target }, { 0, 0, mapped, ip->source }, rtp->target_port, rtp->source_port, 0 }, said;
	struct flow *flow = flow_of(&heard);
	__u32 egress;
	__u8 tos;
	if (!flow || !count(flow, &heard, rtp, length - sizeof(*ip) - 8, skb->ifindex, &said, &egress, &tos))
		return NEXT;

	// Sums of what was and what comes, in the packet's order of bytes: a one's complement sum does not mind it (RFC 1071 2 (B)).
	__u64 addresses = (__u64)said.local[3] + said.peer[3] + (__u32)~ip->source + (__u32)~ip->target;
	__u64 ports = (__u64)said.local_port + said.peer_port + (__u16)~rtp->source_port + (__u16)~rtp->target_port;
	__u16 *ttl_word = (__u16 *)&ip->ttl, *tos_word = (__u16 *)ip;
	__u64 header = addresses + (__u16)~*ttl_word + (__u16)~*tos_word + (__u16)~ip->checksum;
	ip->ttl -= 1;
	ip->tos = tos;
	header += *ttl_word + *tos_word;
	ip->checksum = ~folded(header);
	ip->source = said.local[3];
	ip->target = said.peer[3];
	rtp->source_port = said.local_port;
	rtp->target_port = said.peer_port;
	const __u32 checksum = ETH_HLEN + sizeof(*ip) + UDP_CHECKSUM;
	replace_checksum(skb, checksum, 0, folded(addresses), BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	replace_checksum(skb, checksum, 0, folded(ports), BPF_F_MARK_MANGLED_0);
	return leave(egress);
}

INLINE __u64 sum(const __u32 words[4])
{
	return (__u64)words[0] + words[1] + words[2] + words[3];
}

INLINE __u64 sum_of_complements(const __u32 words[4])
{
	return (__u64)(__u32)~words[0] + (__u32)~words[1] + (__u32)~words[2] + (__u32)~words[3];
}

INLINE int forward_v6(struct __sk_buff *skb)
{
	const __u32 needed = ETH_HLEN + sizeof(struct ipv6) + sizeof(struct rtp);
	if ((void *)(long)skb->data + needed > (void *)(long)skb->data_end && (skb->len < needed || pull(skb, needed)))
		return NEXT;
	struct ipv6 *ip = (void *)(long)skb->data + ETH_HLEN;
	struct rtp *rtp = (void *)(ip + 1);
	if ((void *)(rtp + 1) > (void *)(long)skb->data_end)
		return NEXT;
	// Without a checksum UDP over IPv6 is not for us (RFC 8200 8.1).
	if (ip->next != UDP || ip->hops <= 1 || ip->length != rtp->length || rtp->checksum == 0 || !is_plain(rtp))
		return NEXT;
	__u32 length = SWAP16(ip->length);
	if (ETH_HLEN + sizeof(*ip) + length > skb->len)
		return NEXT;

	struct ends heard = { { ip->target[0], ip->target[1], ip->target[2], ip->target[3] },
			      { ip->source[0], ip->source[1], ip->source[2], ip->source[3] },
			      rtp->target_port,
			      rtp->source_port,
			      0 },
		    said;
	struct flow *flow = flow_of(&heard);
	__u32 egress;
	__u8 tos;
	if (!flow || !count(flow, &heard, rtp, length - 8, skb->ifindex, &said, &egress, &tos))
		return NEXT;

	__u64 addresses = sum(said.local) + sum(said.peer) + sum_of_complements(ip->source) + sum_of_complements(ip->target);
	__u64 ports = (__u64)said.local_port + said.peer_port + (__u16)~rtp->source_port + (__u16)~rtp->target_port;
	__u16 *hops_word = (__u16 *)&ip->next;
	__u64 header = addresses + (__u32)~ip->version_class_label + (__u16)~*hops_word;
	ip->hops -= 1;
	ip->version_class_label = (ip->version_class_label & ~__builtin_bswap32(0x0ff00000)) | __builtin_bswap32((__u32)tos << 20);
	header += (__u64)ip->version_class_label + *hops_word;
#pragma unroll
	for (int at = 0; at < 4; at++) {
		ip->source[at] = said.local[at];
		ip->target[at] = said.peer[at];
	}
	rtp->source_port = said.local_port;
	rtp->target_port = said.peer_port;
	const __u32 checksum = ETH_HLEN + sizeof(*ip) + UDP_CHECKSUM;
	replace_checksum(skb, checksum, 0, folded(addresses), BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0);
	replace_checksum(skb, checksum, 0, folded(ports), BPF_F_MARK_MANGLED_0);
	// An IPv6 header has no checksum that makes up for its change, so a sum of the whole packet that a card made changes with
	// it. Refused, and rightly, when there is none.
	update_checksum(skb, folded(header));
	return leave(egress);
}

SEC("classifier")
int forward(struct __sk_buff *skb)
{
	if (skb->pkt_type != 0 || skb->vlan_present || skb->gso_segs > 1 || skb->len > LONGEST)
		return NEXT;
	if (skb->protocol == SWAP16(ETH_P_IP))
		return forward_v4(skb);
	if (skb->protocol == SWAP16(ETH_P_IPV6))
		return forward_v6(skb);
	return NEXT;
}

// Some helpers are kept for programs under a licence that the kernel knows as GPL compatible; none of those is used.
char LICENSE[] SEC("license") = "Apache-2.0";
