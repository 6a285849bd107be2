#pragma once

#include <string>

#include "cli/measures.h"
#include "cli/screen.h"

/// One head, large: its words as arcs, as a table of weights, and row by row.
namespace headscope::cli {

/// The sentence with the strongest link of each word: arcs above to later words, below to earlier
/// ones; a remark instead when the sentence does not fit on one line. Lines end in '\n'.
std::string arcs(const Screen& screen, const Links& links, HeadId head);

/// Weights between words, blank below .02, with the share that is hidden; columns that do not fit
/// go into further tables, and a text of many words becomes one pooled map.
std::string word_table(const Screen& screen, const Sighting& sighting, HeadId head);

/// Per token: what it looks at most, entropy in nats, distance in tokens, mass on the first token,
/// itself and the one before.
std::string row_table(const Screen& screen, const Sighting& sighting, HeadId head, int most = 40);

}  // namespace headscope::cli
