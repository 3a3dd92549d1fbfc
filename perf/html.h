// The frame of weirperf's HTML pages: one file each, with style and pictures in it, nothing fetched, no scripts.
#ifndef WEIR_PERF_HTML_H
#define WEIR_PERF_HTML_H

#include <stddef.h>
#include <stdio.h>

// Text as HTML content or attribute value: control characters become blanks.
void weir_html_text(FILE *stream, const char *text);
// Bytes as base64, for a data: URI.
void weir_html_base64(FILE *stream, const char *bytes, size_t size);

// Doctype, head with title and style, beginning of the body; and the end of it.
void weir_html_begin(FILE *stream, const char *title);
void weir_html_end(FILE *stream);

// A picture in the page itself, with a caption.
void weir_html_picture(FILE *stream, const char *svg, size_t size, const char *caption);

#endif
