// The three descriptors that every program is promised, and what becomes of its output. A caller may have closed any of
// them (cron, service managers, `>&-`): the next file or socket would get its number, and output would go into it.
#ifndef LIB_STANDARD_H
#define LIB_STANDARD_H

// Opens those of 0 to 2 that are closed on /dev/null, 0 so that reading fails and 1 so that writing fails: who closed them
// wanted no input and no output, and hears of it when there is some. Ignores SIGPIPE: a reader that went away is an error of
// the write. First call of main().
void lib_standard_open(void);

// Whether everything written to stdout so far has arrived. -errno when not, -EIO when the reason is not known any more.
int lib_output_flush(void);

// Last call of main(): status, or `failed` with a message on stderr when standard output did not take everything. A status
// that is not 0 stays.
int lib_output_end(const char *program, int status, int failed);

#endif
