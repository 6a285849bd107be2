#pragma once

#include <string>

#include "cli/words.h"
#include "headscope/sighting.h"

/// How elements of an input that is no text are called on the screen; JSON keeps Label::text.
namespace headscope::cli {

/// "frame 2 patch 4,3", "C4 bar 2 beat 1.25, soprano", "row Sep-1-2009, column price" in the
/// language of the screen; a table of one column leaves its name out. Of a text: the token as it is.
std::string full_label(Lang lang, const Sighting& sighting, const Label& label);

/// The same in few columns, what tells elements apart first: "f2 4,3", "C4 2.1.25 S" (bar and
/// beat), "Sep-1-2009": a date of a table is never cut.
std::string short_label(Lang lang, const Sighting& sighting, const Label& label);

}  // namespace headscope::cli
