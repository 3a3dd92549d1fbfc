// The XDP guard for interfaces that keep VLAN tags beside packets, as a veth's peer leaves them: asks the driver for the tag
// and puts it into the packet. Such a program is bound to its interface and cannot be tried by BPF_PROG_TEST_RUN; all else is
// guard.bpf.c's, with the same maps. An object of its own, because a kernel looks at what a program calls before it finds
// out that it never does, and because libxdp wants the same name of both.
#include "bpf/judge.h"

// 0 and the tag, or -ENODATA. Kernels before 6.8 have none: then this object does not load.
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *type, __u16 *tci) __ksym;

static __always_inline bool tag_read(struct xdp_md *ctx, uint16_t *type, uint16_t *tci)
{
	return bpf_xdp_metadata_rx_vlan_tag(ctx, type, tci) == 0;
}

SEC("xdp")
int xsk_def_prog(struct xdp_md *ctx)
{
	return weir_judge(ctx, tag_read);
}

char _license[] SEC("license") = "Dual BSD/GPL";
