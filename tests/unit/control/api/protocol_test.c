// The control protocol without a socket: cutting bytes into lines, requests and refusals, the table of commands. What
// arrives is cut anywhere, and what does not parse is answered and never believed.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "control/api/protocol.h"

static void feed(struct weir_api_lines *lines, const char *bytes, size_t size)
{
	while (size > 0) {
		size_t room;
		char *at = weir_api_lines_room(lines, &room);
		size_t part = size < room ? size : room;

		cr_assert_not_null(at);
		memcpy(at, bytes, part);
		weir_api_lines_add(lines, part);
		bytes += part;
		size -= part;
	}
}

Test(protocol, lines_come_out_whole_however_they_were_cut)
{
	static const char TEXT[] = "one\n\nthree and a bit\n";
	static const char *const LINES[] = { "one", "", "three and a bit" };

	for (size_t cut = 1; cut < sizeof(TEXT) - 1; cut++) {
		struct weir_api_lines lines = { 0 };
		unsigned found = 0;

		for (size_t at = 0; at < sizeof(TEXT) - 1; at += cut) {
			size_t size = sizeof(TEXT) - 1 - at < cut ? sizeof(TEXT) - 1 - at : cut;
			char *line;

			feed(&lines, TEXT + at, size);
			while ((line = weir_api_lines_take(&lines)) != NULL) {
				cr_assert_lt(found, 3);
				cr_assert_str_eq(line, LINES[found++]);
				free(line);
			}
		}
		cr_assert_eq(found, 3, "cut at %zu", cut);
		weir_api_lines_fini(&lines);
	}
}

Test(protocol, an_endless_line_is_cut_off)
{
	struct weir_api_lines lines = { 0 };
	size_t total = 0;
	size_t room;
	char *at;

	while ((at = weir_api_lines_room(&lines, &room)) != NULL) {
		memset(at, 'x', room);
		weir_api_lines_add(&lines, room);
		total += room;
		cr_assert_null(weir_api_lines_take(&lines));
	}
	cr_assert_eq(total, WEIR_API_LINE_MAX);
	weir_api_lines_fini(&lines);
}

Test(protocol, every_command_of_the_table_can_be_asked_for)
{
	for (int command = 0; command < WEIR_COMMAND_COUNT; command++) {
		json_t *request = weir_api_request(command, NULL);
		json_t *refusal = NULL;
		json_t *arguments;

		cr_assert_eq(weir_api_parse(request, &arguments, &refusal), command);
		cr_assert(json_is_object(arguments));
		cr_assert_null(refusal);
		json_decref(request);
	}
}

static void check_refused(const char *text)
{
	json_t *request = json_loads(text, 0, NULL);
	json_t *refusal = NULL;
	json_t *arguments;
	json_t *error;

	cr_assert_eq(weir_api_parse(request, &arguments, &refusal), WEIR_COMMAND_COUNT, "%s", text);
	cr_assert(json_is_false(json_object_get(refusal, "ok")), "%s", text);
	error = json_object_get(refusal, "error");
	cr_assert(json_is_string(json_object_get(error, "object")));
	cr_assert(json_is_string(json_object_get(error, "action")));
	cr_assert(json_is_string(json_object_get(error, "reason")));
	cr_assert(json_is_string(json_object_get(error, "fix")));
	cr_assert(json_is_null(json_object_get(error, "line")));
	json_decref(refusal);
	json_decref(request);
}

Test(protocol, what_is_no_request_is_refused_in_four_parts)
{
	static const char *const TEXTS[] = { "{}",       "[]",           "{\"command\": 7}", "{\"command\": \"halt\"}",
					     "not json", "{\"command\":" };

	for (size_t i = 0; i < sizeof(TEXTS) / sizeof(*TEXTS); i++)
		check_refused(TEXTS[i]);
}

Test(protocol, a_refusal_in_a_file_says_where)
{
	json_t *refusal = weir_api_refusal(&(struct weir_api_error){ .object = "topic a",
								     .action = "add it",
								     .reason = "no",
								     .fix = "yes",
								     .file = "weir.yaml",
								     .line = 3,
								     .column = 5 });
	json_t *error = json_object_get(refusal, "error");

	cr_assert_str_eq(json_string_value(json_object_get(error, "file")), "weir.yaml");
	cr_assert_eq(json_integer_value(json_object_get(error, "line")), 3);
	cr_assert_eq(json_integer_value(json_object_get(error, "column")), 5);
	json_decref(refusal);
}

Test(protocol, a_printed_answer_is_one_line)
{
	json_t *answer = weir_api_result(json_pack("{s:s}", "text", "two\nlines"));
	size_t size;
	char *line = weir_api_print(answer, &size);

	cr_assert_eq(strchr(line, '\n'), line + size - 1);
	free(line);
	json_decref(answer);
}

Test(protocol, a_socket_path_that_does_not_fit_is_refused)
{
	char path[32];

	cr_assert_eq(weir_api_socket_path("east", path, sizeof(path)), 0);
	cr_assert_str_eq(path, "/run/weir/east.sock");
	cr_assert_lt(weir_api_socket_path("a-name-that-is-rather-too-long", path, sizeof(path)), 0);
}
