// Escaping, style and pictures of HTML pages.
#include "perf/html.h"

#include <stdint.h>

void weir_html_text(FILE *stream, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': fputs("&amp;", stream); break;
		case '<': fputs("&lt;", stream); break;
		case '>': fputs("&gt;", stream); break;
		case '"': fputs("&quot;", stream); break;
		default: fputc((unsigned char)*text < ' ' ? ' ' : *text, stream); break;
		}
	}
}

void weir_html_base64(FILE *stream, const char *bytes, size_t size)
{
	static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	for (size_t i = 0; i < size; i += 3) {
		size_t left = size - i;
		uint32_t group = (uint32_t)(unsigned char)bytes[i] << 16;
		group |= left > 1 ? (uint32_t)(unsigned char)bytes[i + 1] << 8 : 0;
		group |= left > 2 ? (uint32_t)(unsigned char)bytes[i + 2] : 0;
		fputc(LETTERS[group >> 18], stream);
		fputc(LETTERS[group >> 12 & 63], stream);
		fputc(left > 1 ? LETTERS[group >> 6 & 63] : '=', stream);
		fputc(left > 2 ? LETTERS[group & 63] : '=', stream);
	}
}

static const char STYLE[] =
	":root{color-scheme:light}\n"
	"body{font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Helvetica,Arial,sans-serif;color:#1c2430;background:#f4f6f9;"
	"margin:0}\n"
	"main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}\n"
	"h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:0 0 12px}\n"
	"p{margin:6px 0}.quiet{color:#5b6675}\n"
	"section{background:#fff;border:1px solid #e1e5ec;border-radius:8px;padding:18px 20px;margin:18px 0;overflow-x:auto}\n"
	"table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}\n"
	"th,td{padding:5px 6px;border-bottom:1px solid #edf0f4;text-align:right;vertical-align:top}\n"
	"td{white-space:nowrap}td.text,.facts td{white-space:normal}\n"
	"th{color:#5b6675;font-weight:600;font-size:12.5px}th:first-child,td:first-child,td.text,th.text{text-align:left}\n"
	"tr:last-child td{border-bottom:0}\n"
	".facts td:first-child{white-space:nowrap;color:#5b6675;width:180px}.facts td{text-align:left}\n"
	".badge{display:inline-block;border-radius:12px;padding:1px 12px;font-size:14px;font-weight:600;color:#fff}\n"
	".good{background:#0f7a5c}.bad{background:#b3261e}.noisy{background:#8a6d1b}.same{background:#6b7685}\n"
	".tiles{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}\n"
	".tile{background:#fff;border:1px solid #e1e5ec;border-radius:8px;padding:12px 16px;flex:1 1 150px}\n"
	".tile b{display:block;font-size:22px}.tile span{color:#5b6675;font-size:13px}\n"
	"figure{margin:0}figure img{width:100%;height:auto;display:block}figcaption{color:#5b6675;font-size:13px}\n"
	"@media print{body{background:#fff}section,.tile{break-inside:avoid}}\n";

void weir_html_begin(FILE *stream, const char *title)
{
	fputs("<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>", stream);
	weir_html_text(stream, title);
	fprintf(stream, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n", STYLE);
}

void weir_html_end(FILE *stream)
{
	fputs("</main>\n</body>\n</html>\n", stream);
}

void weir_html_picture(FILE *stream, const char *svg, size_t size, const char *caption)
{
	fputs("<figure><img alt=\"", stream);
	weir_html_text(stream, caption);
	fputs("\" src=\"data:image/svg+xml;base64,", stream);
	weir_html_base64(stream, svg, size);
	fputs("\"/><figcaption>", stream);
	weir_html_text(stream, caption);
	fputs("</figcaption></figure>\n", stream);
}
