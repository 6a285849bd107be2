#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/json_writer.h"
#include "cli/see.h"

/// What the parts of the screen of `see` have in common.
namespace headscope::cli {

/// As many links as fit into `room` columns and `most` (0: no limit): "Старый→король .81  ...".
std::string show_links(const Links& links, std::span<const Link> which, int room, std::size_t most);
/// The same behind what a line says already; of an input that is no text on the next line where none
/// fits: names of its elements are cut last.
std::string links_beside(const Screen& screen,
                         const Links& links,
                         std::span<const Link> which,
                         int room,
                         std::size_t most);
/// Of an input that is no text and --row the strongest links of that row, else of the head those
/// between words, and with `any` those to special tokens too.
std::vector<Link> links_shown(
    const Seen& seen, const Links& links, HeadId head, std::size_t n, bool any);
/// Of a tune or table that a causal model reads: what a row stands for. Else "".
std::string foretells_note(const Screen& screen, const Seen& seen);
/// One link, its words clipped to `most` columns (0: as fits a table).
std::string show_link(const Links& links, const Link& link, int most = 0);

/// One line of a kind, with its end.
std::string title(const Screen& screen, const std::string& words);
std::string dim(const Screen& screen, const std::string& words);
/// A remark, indented and broken into lines.
std::string note(const Screen& screen, const std::string& words);

/// Its names, where it is from, n, and where there is one its score with the baseline, as fields.
void put_role(JsonWriter& json, const Role& role);
/// What a role is called.
const std::string& role_name(const Role& role, Lang lang);
/// "67 % (baseline 39, n 919, UD ...)", or where it is from when it has no score.
std::string role_line(const Screen& screen, const Role& role);
/// Where a role is from; "hand-made" is our own word and has a translation.
std::string source_of(const Screen& screen, const Role& role);

/// The layers that the call asked for: one or all.
std::vector<int> shown_layers(const Seen& seen);

}  // namespace headscope::cli
