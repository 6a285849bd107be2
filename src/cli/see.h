#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/measures.h"
#include "cli/screen.h"
#include "doctor/syntax.h"
#include "headscope/model.h"

/// `headscope see`: what every head does on one text.
namespace headscope::cli {

/// What edits did to the run.
struct Changed {
  double cosine = 1.0;   ///< of the mean embedding to that of the unedited run
  double largest = 0.0;  ///< largest change of a number of the last hidden state
  std::string token;     ///< where it happened
  std::int64_t at = -1;  ///< that token's number; -1: what is named is no token
};

/// Everything that `see` shows, apart from any model, so that tests can make one by hand.
struct Seen {
  std::string model;   ///< name
  std::string family;  ///< model_type
  int layers = 0;
  int heads = 0;   ///< of the layer that has most
  int fewest = 0;  ///< of the layer that has fewest
  std::int64_t width = 0;
  std::int64_t positions = 0;
  std::int64_t parameters = 0;
  std::vector<Role> roles;
  const Sighting* sighting = nullptr;  ///< all layers, q and k kept
  std::vector<std::int32_t> ids;
  std::vector<std::string> unknown;    ///< words that the tokenizer has no piece for
  std::int64_t tokens_before_cut = 0;  ///< 0: nothing was cut
  bool cut_said = false;               ///< remarks tell what was cut; else it was the end
  std::vector<std::string> remarks;    ///< what is to be said of how the input was read
  std::optional<double> run_ms;        ///< of one run with looking
  std::optional<double> looking_ms;    ///< of that, what looking added; measured
  std::vector<Edit> edits;
  std::optional<Changed> changed;
  std::vector<HeadId> large;               ///< heads to show large
  std::optional<int> layer;                ///< only this layer
  const conllu::Sentence* tree = nullptr;  ///< of the text, where it is known
  std::optional<std::int64_t> row;  ///< of an input that is no text: the one whose view is drawn
  bool table = false;               ///< one line a head, for all heads
  std::size_t links = 0;            ///< links a line; 0: as many as fit
  std::string model_argument;       ///< as typed, for the commands under "next"
  std::string input_argument;       ///< likewise
  std::string input_options;        ///< how it is read, likewise: " --as bytes"
  bool walks = true;                ///< whether `walk` reads it so, too
};

/// The screen. Lines end in '\n' and keep to screen.width columns.
std::string render_see(const Screen& screen, const Seen& seen);
/// The parts of it.
std::string render_header(const Screen& screen, const Seen& seen);
std::string render_roles(const Screen& screen, const Seen& seen, const Links& links);
std::string render_measured(const Screen& screen,
                            const Seen& seen,
                            const Links& links,
                            const std::vector<std::vector<Summary>>& summaries);
std::string render_table(const Screen& screen,
                         const Seen& seen,
                         const Links& links,
                         const std::vector<std::vector<Summary>>& summaries);

/// The same and more as JSON: tokens, roles, statistics per head and per row; whole maps when asked
/// for.
std::string see_json(const Seen& seen, bool maps);

/// What a sentence shows of a role that follows a relation.
struct ShownHere {
  std::vector<doctor::Followed> links;  ///< that its tree names, and where the head looks
  std::size_t unread = 0;               ///< links of words without a token: cut off, for example
};
/// nullopt: the role follows no relation, or the tree is not known.
std::optional<ShownHere> shown_here(const Seen& seen, const Role& role);
/// The same in words: "shown here 1 of 2: ...", at most a dozen of them.
std::string say_here(Lang lang, const conllu::Sentence& tree, const ShownHere& here);

/// The longest text in tokens whose whole maps --json --maps prints.
inline constexpr std::int64_t kMostMapTokens = 256;

/// A word as a shell takes it, in double quotes where it needs them.
std::string shell_word(std::string_view word);

/// The verb. Returns the exit status; what it prints goes to `out`.
int see(std::span<const std::string> arguments, Lang lang, std::string& out);
struct Setup;
/// The same once more: MODEL and options as they come, text and edits from an experiment.
int see_again(std::span<const std::string> arguments,
              Lang lang,
              std::string& out,
              const Setup& setup);

}  // namespace headscope::cli
