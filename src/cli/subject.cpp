#include "cli/subject.h"

#include <algorithm>
#include <filesystem>

#include "cli/input.h"
#include "cli/progress.h"
#include "formats/edit_distance.h"
#include "headscope/error.h"
#include "models/find.h"

namespace headscope::cli {

namespace {
void need_words(const Call& call, std::span<const std::string> words) {
  if (words.size() >= 2) return;
  if (!words.empty()) check_needs_text(call, words[0]);
  const Word missing = words.empty() ? Word::kNeedsModelAndText : Word::kNeedsText;
  const std::string model = words.empty() ? "planted" : clean(words[0]);
  throw Error(ErrorCode::kUsage, say(call.screen.lang, missing, call.verb, model));
}

// Whether a model may read something other than text, as the files beside it tell before it is loaded.
bool may_read_other(const std::string& name) {
  const std::filesystem::path folder = models::find(name).folder;
  std::error_code ignored;
  return std::filesystem::exists(folder / "media.json", ignored) ||
         std::filesystem::exists(folder / "preprocessor_config.json", ignored);
}

// A word that is a folder's name may be a text; one with a slash is a path.
void check_folder(const Call& call, std::span<const std::string> input) {
  std::error_code ignored;
  if (input.size() != 1 || input[0].find('/') == std::string::npos ||
      !std::filesystem::is_directory(input[0], ignored))
    return;
  throw Error(ErrorCode::kInput,
              say(call.screen.lang, Word::kFolderNoFile, call.verb, clean(input[0])));
}

Tokens tokenise(const Call& call,
                const Model& model,
                const std::string& text,
                std::vector<Label>& labels,
                bool truncate) {
  try {
    return model.tokens(text, &labels, truncate);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInput) throw;
    std::size_t tokens = 0;
    bool empty = false;
    try {
      const Encoding read = model.tokenizer().encode(text);
      tokens = read.ids.size();
      empty = std::all_of(read.offsets.begin(), read.offsets.end(), [](ByteRange r) {
        return r.begin == r.end;  // of special tokens alone
      });
    } catch (const Error&) {  // Not UTF-8: the first error says it better.
      throw error;
    }
    if (empty) throw Error(error.code(), say(call.screen.lang, Word::kEmptyText, call.verb));
    if (truncate) throw;
    if (static_cast<std::int64_t>(tokens) <= model.positions()) throw;
    throw Error(error.code(),
                say(call.screen.lang,
                    Word::kTooLong,
                    call.verb,
                    clean(model.name()),
                    model.positions(),
                    tokens));
  }
}

std::vector<std::string> unknown_words(const Model& model,
                                       const std::string& text,
                                       const Tokens& tokens,
                                       const std::vector<Label>& labels) {
  const std::int32_t unknown = model.tokenizer().unknown_id();
  const auto ids = tokens.ids.span<std::int32_t>();
  std::vector<std::string> out;
  for (std::size_t i = 0; i < labels.size() && unknown >= 0; ++i) {
    const auto begin = static_cast<std::size_t>(labels[i].begin);
    const auto end = static_cast<std::size_t>(labels[i].end);
    if (ids[i] == unknown && begin < end && end <= text.size()) {
      out.push_back(text.substr(begin, end - begin));
    }
  }
  return out;
}

// The built-in model whose name is almost this one; "" : none.
std::string near_model(const std::string& name) {
  constexpr std::size_t kClose = 2, kShortest = 3, kLongest = 16;
  if (name.size() < kShortest || name.size() > kLongest) return "";
  std::string best;
  std::size_t least = kClose + 1;
  for (const std::filesystem::path& shelf : models::shelves()) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(shelf, ignored)) {
      const std::string there = entry.path().filename().string();
      const std::size_t edits = edit_distance(name, there);
      if (edits >= least || !std::filesystem::exists(entry.path() / "config.json", ignored))
        continue;
      least = edits;
      best = there;
    }
  }
  return best;
}

// The first sentence of a treebank's file, nothing when the input is another.
std::optional<conllu::Sentence> read_tree(const Call& call, std::span<const std::string> input) {
  std::error_code ignored;
  if (input.size() != 1 || !conllu::is_treebank(input[0]) ||
      !std::filesystem::is_regular_file(input[0], ignored))
    return std::nullopt;
  std::vector<conllu::Sentence> all = conllu::load(input[0]);
  if (all.empty()) {
    throw Error(ErrorCode::kInput,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    clean(input[0]),
                    say(call.screen.lang, Word::kASentence),
                    0));
  }
  return std::move(all.front());
}
}  // namespace

void check_model(const Call& call, const std::string& name) {
  const Lang lang = call.screen.lang;
  try {
    (void)models::find(name);
  } catch (const Error& error) {
    std::error_code ignored;
    if (error.code() != ErrorCode::kNotFound || std::filesystem::exists(name, ignored)) throw;
    std::string looked;
    for (const std::filesystem::path& shelf : models::shelves())
      looked += (looked.empty() ? "" : ", ") + clean(shelf.string());
    if (!looked.empty()) looked = say(lang, Word::kLookedAlso, looked);
    const std::string near = near_model(name);
    std::string hint;
    if (!near.empty())
      hint = say(lang, Word::kDidYouMean, near);
    else if (std::string_view(error.what()).find("headscope pull") != std::string_view::npos)
      hint = say(lang, Word::kPullBringsOne, clean(name));
    throw Error(error.code(), say(lang, Word::kUnknownModel, clean(name), looked, hint));
  }
}

void check_needs_text(const Call& call, const std::string& name) {
  check_model(call, name);
  if (!may_read_other(name)) return;
  const Word reads = word_of(Model::load(name));
  if (reads == Word::kReadsText) return;
  const Lang lang = call.screen.lang;
  throw Error(ErrorCode::kUsage,
              say(lang, Word::kNeedsInput, call.verb, clean(name), text(lang, reads)));
}

Subject prepare(const Call& call,
                Model model,
                const std::string& model_argument,
                std::string text,
                bool truncate) {
  Subject out(std::move(model), std::move(text));
  out.tokens = tokenise(call, out.model, out.text, out.labels, truncate);
  out.unknown = unknown_words(out.model, out.text, out.tokens, out.labels);
  out.model_argument = model_argument;
  out.input_argument = out.text;
  if (truncate) {
    const std::size_t whole = out.model.tokenizer().encode(out.text).ids.size();
    if (whole > out.labels.size()) out.tokens_before_cut = static_cast<std::int64_t>(whole);
  }
  return out;
}

Subject prepare(const Call& call, std::span<const std::string> words, const InputWishes& wishes) {
  need_words(call, words);
  const auto input = words.subspan(1);
  check_folder(call, input);
  const Progress progress(call.screen.lang, say(call.screen.lang, Word::kLoading, clean(words[0])));
  check_model(call, words[0]);
  if (!may_read_other(words[0])) check_input(call, input);
  Subject out(Model::load(words[0]), "");
  const bool words_of_text = wishes.as.empty() && reads_text(out.model);
  if (auto tree = words_of_text ? read_tree(call, input) : std::nullopt) {
    check_wishes_of_text(call, wishes);
    out = prepare(call, std::move(out.model), words[0], tree->text, wishes.truncate);
    out.input_argument = input[0];
    out.tree = std::move(tree);
    return out;
  }
  if (prepare_other(call, input, wishes, out)) {
    out.model_argument = words[0];
    out.input_argument = input.size() == 1 ? input[0] : out.text;
    return out;
  }
  std::string text = out.text.empty() ? read_input(call, input) : as_text(std::move(out.text));
  out = prepare(call, std::move(out.model), words[0], std::move(text), wishes.truncate);
  if (words.size() == 2) out.input_argument = words[1];
  return out;
}

void check_layer(const Call& call, const Model& model, std::int64_t layer) {
  if (layer >= 0 && layer < model.layers()) return;
  throw Error(ErrorCode::kRange,
              say(call.screen.lang, Word::kNoSuchLayer, call.verb, model.layers() - 1, layer));
}

void check_passed(const Call& call, const Subject& subject, int layer) {
  const auto& passed = subject.layers;
  if (passed.empty() || std::find(passed.begin(), passed.end(), layer) != passed.end()) return;
  throw Error(
      ErrorCode::kRange,
      say(call.screen.lang, Word::kNotPassed, call.verb, passed.front(), passed.back(), layer));
}

std::pair<int, int> head_counts(const Model& model, int layers) {
  std::pair out{model.heads(), model.heads()};
  for (int l = 0; l < layers; ++l) {
    out.first = std::min(out.first, model.heads(l));
    out.second = std::max(out.second, model.heads(l));
  }
  return out;
}

std::string counted_heads(Lang lang, int fewest, int most) {
  return (fewest > 0 && fewest < most ? fmt::format("{}-", fewest) : "") +
         counted(lang, Word::kHeads, most);
}

void check_head(const Call& call, const Model& model, HeadId id) {
  // Layers may differ: each stack of an encoder-decoder has heads of its own.
  const bool layer = id.layer >= 0 && id.layer < model.layers();
  const int heads = layer ? model.heads(id.layer) : model.heads();
  if (layer && id.head >= 0 && id.head < heads) return;
  throw Error(ErrorCode::kRange,
              say(call.screen.lang,
                  Word::kNoSuchHead,
                  call.verb,
                  model.layers() - 1,
                  heads - 1,
                  id.name()));
}

}  // namespace headscope::cli
