// An event as a line of JSON. The payload is a string where it is UTF-8, base64 where it is not. Numbers of 64 bits are
// strings, as in weirctl's: programs that read JSON numbers as doubles (jq, JavaScript) would change them.
#include <string.h>

#include "client/weircat/weircat.h"
#include "lib/json.h"

void cat_json_write(FILE *out, const struct weir_view *view, const char *subject, size_t subject_size)
{
	enum cat_mark mark = cat_mark_get(view);
	fprintf(out, "{\"key\":\"0x%016llx\",\"shard\":%u,\"offset\":%llu,\"term\":%u,\"producer\":\"0x%016llx\",",
		(unsigned long long)view->key, view->shard, (unsigned long long)view->offset, view->term,
		(unsigned long long)view->producer);
	fprintf(out, "\"sequence\":\"0x%016llx\",\"type\":%u,\"append_ns\":\"0x%016llx\",\"redelivered\":%s,",
		(unsigned long long)view->sequence, view->type, (unsigned long long)view->append_ns,
		view->flags & WEIR_VIEW_REDELIVERED ? "true" : "false");
	if (subject && lib_json_is_text(subject, subject_size)) {
		fputs("\"subject\":", out);
		lib_json_string_write(out, subject, subject_size);
		fputc(',', out);
	}
	if (mark)
		fprintf(out, "\"mark\":\"%s\",", cat_mark_name(mark));
	bool is_plain = lib_json_is_text(view->payload, view->payload_size);
	fputs(is_plain ? "\"payload\":" : "\"payload_base64\":", out);
	if (is_plain)
		lib_json_string_write(out, view->payload, view->payload_size);
	else
		lib_json_base64_write(out, view->payload, view->payload_size);
	cat_attributes_write(out, view);
	fputs("}\n", out);
}
