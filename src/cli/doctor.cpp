#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "cli/app.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "formats/xz.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "models/widen.h"

namespace headscope::cli {

namespace {

struct Verb {
  std::string_view name;
  int (*body)(std::span<const std::string>, Lang, std::string&);
};
constexpr Verb kVerbs[] = {{"roles", doctor_roles},
                           {"rank", doctor_rank},
                           {"patch", doctor_patch},
                           {"check", doctor_check},
                           {"prune", doctor_prune},
                           {"regroup", doctor_regroup},
                           {"replay", doctor_replay}};

// Words that come again, pairs of names, and words that the planted council knows.
constexpr std::string_view kSentences[] = {
    "The old king gave the young prince a sharp sword.",
    "The king saw the sword and the prince saw the king.",
    "Старый король дал молодому принцу острый меч, и принц взял меч.",
    "When the ferry reached the island, Anna and Peter carried their boxes up the hill to the "
    "white house "
    "above the harbour. Anna opened the door, and Peter put the boxes on the floor. The house had "
    "been empty "
    "for eleven years; dust lay on the table, on the chairs and on the old piano in the corner. "
    "\"Nobody has "
    "played it since my grandmother left,\" said Anna. She lifted the lid, pressed one key, and "
    "the sound went "
    "through all the empty rooms of the white house.",
    "The committee that had examined the accounts of the company for three months wrote that the "
    "figures were "
    "correct, but that the way in which they had been written down was not. The director of the "
    "company answered "
    "that the figures, and not the way in which they had been written down, were what the "
    "committee had been "
    "asked to examine.",
    "def largest(numbers):\n    best = numbers[0]\n    for number in numbers:\n        if number > "
    "best:\n"
    "            best = number\n    return best\n",
    "Осенью, когда кончились дожди, старый лодочник вытащил лодку на берег и перевернул её вверх "
    "дном. Каждое "
    "утро он садился на эту лодку и смотрел на реку, по которой больше никто не плавал. Река была "
    "широкая, серая "
    "и спокойная, и старику казалось, что она тоже смотрит на него."};

std::vector<std::string> pieces_of(std::string_view text) {
  constexpr std::size_t kMost = 1000;
  std::vector<std::string> out;
  while (!text.empty()) {
    std::size_t n = text.size();
    if (n > kMost) {
      n = text.rfind('\n', kMost);
      if (n == text.npos || n < kMost / 4) n = text.rfind(' ', kMost);
      if (n == text.npos || n == 0) {  // No word ends: at least no character is cut.
        n = kMost;
        while (n > 1 && (static_cast<unsigned char>(text[n]) & 0xC0U) == 0x80U) --n;
      }
    }
    const std::string_view piece = text.substr(0, n);
    if (piece.find_first_not_of(" \t\r\n") != piece.npos) out.emplace_back(piece);
    text.remove_prefix(n);
    text.remove_prefix(std::min(text.size(), text.find_first_not_of(" \r\n")));
  }
  return out;
}

// Sentences in words that the model knows; all of them when there is none.
std::vector<std::string> built_in(const Model& model) {
  std::vector<std::string> known;
  const std::int32_t unknown = model.tokenizer().unknown_id();
  for (const std::string_view sentence : kSentences) {
    const auto ids = model.tokenizer().encode(sentence).ids;
    if (unknown < 0 || std::find(ids.begin(), ids.end(), unknown) == ids.end())
      known.emplace_back(sentence);
  }
  if (known.empty()) known.assign(std::begin(kSentences), std::end(kSentences));
  return known;
}

// Errors: kUnsupported for a model of pictures alone.
void check_reads_text(const Call& call, const Model& model) {
  if (!model.sees()) return;
  try {
    (void)model.tokenizer();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang, Word::kDoctorSees, call.verb, clean(model.name())));
  }
}

std::string text_of(const std::vector<conllu::Sentence>& trees) {
  std::string out;
  for (const conllu::Sentence& one : trees) out += one.text + '\n';
  return out;
}

}  // namespace

std::string Corpus::about(Lang lang) const {
  if (pieces.size() == all) return name;
  const auto shown = static_cast<std::int64_t>(pieces.size());
  return say(lang, Word::kDoctorPieces, name, counted(lang, Word::kPieces, shown), all);
}

Corpus read_corpus(const Call& call,
                   const Model& model,
                   const std::string& file,
                   std::int64_t most) {
  check_reads_text(call, model);
  Corpus out;
  std::vector<std::string> texts;
  if (file.empty()) {
    out.name = std::string(text(call.screen.lang, Word::kDoctorBuiltIn));
    texts = built_in(model);
  } else {
    check_there(call, text(call.screen.lang, Word::kAText), file);
    out.name = clean(std::filesystem::path(file).filename().string());
    if (conllu::is_treebank(file)) {
      out.treebank = read_text(file);
      out.trees = conllu::parse(out.treebank, file);
      out.text = text_of(out.trees);
    } else {
      out.text = read_file(file, std::size_t{1} << 30);
    }
    texts = pieces_of(out.text);
  }
  out.all = texts.size();
  if (texts.empty()) {
    throw Error(ErrorCode::kInput,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    "--data",
                    say(call.screen.lang, Word::kAText),
                    say(call.screen.lang, Word::kDoctorNothing)));
  }
  texts.resize(std::min(texts.size(), static_cast<std::size_t>(most)));
  for (const std::string& one : texts) {
    out.pieces.push_back(model.tokens(one, nullptr, true));
    out.tokens += out.pieces.back().ids.size();
  }
  return out;
}

Model load_model(const Call& call, std::span<const std::string> words, Purpose purpose) {
  if (words.size() != 1) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsModel, call.verb, words.size()));
  }
  check_model(call, words.front());
  const Progress progress(call.screen.lang,
                          say(call.screen.lang, Word::kLoading, clean(words.front())));
  LoadOptions options;
  options.finite = purpose != Purpose::kCheck;
  if (purpose == Purpose::kSweep) {
    options.change = [](models::Tensors& tensors) {
      constexpr std::int64_t kMost = 500'000'000;
      std::int64_t parameters = 0;
      for (const auto& [name, view] : tensors.by_name) parameters += view.size();
      if (parameters <= kMost) models::widen(tensors);
    };
  }
  return Model::load(words.front(), options);
}

std::int32_t one_token(const Call& call,
                       const Model& model,
                       std::string_view option,
                       const std::string& text) {
  if (text.empty()) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, option));
  }
  const Encoding e = model.tokenizer().encode(text, false);
  if (e.ids.size() == 1 && e.ids.front() != model.tokenizer().unknown_id()) return e.ids.front();
  if (e.ids.size() == 1)
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNoToken, call.verb, option, clean(text)));
  std::string shown;
  for (const std::string& token : e.tokens) shown += (shown.empty() ? "" : " | ") + clean(token);
  throw Error(ErrorCode::kUsage,
              say(call.screen.lang,
                  Word::kDoctorOneToken,
                  call.verb,
                  option,
                  counted(call.screen.lang, Word::kTokens, static_cast<std::int64_t>(e.ids.size())),
                  shown));
}

doctor::Told telling(Progress& progress, const Call& call, Word what) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const Lang lang = call.screen.lang;
  return [&progress, start, lang, what](std::int64_t done, std::int64_t of) {
    // Only while something is being written does a signal wait; what is half done is then removed on the way out.
    if (signal_waits()) throw Error(ErrorCode::kResources, "[doctor] interrupted");
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (seconds < 1.0 || done < 1) return;
    const double left = seconds * static_cast<double>(of - done) / static_cast<double>(done);
    progress.now(say(lang,
                     Word::kDoctorTimeLeft,
                     text(lang, what),
                     100 * done / std::max<std::int64_t>(1, of),
                     static_cast<std::int64_t>(left + 0.5)));
  };
}

std::string heads_line(std::vector<Scored> heads, int width) {
  std::stable_sort(heads.begin(), heads.end(), [](const Scored& a, const Scored& b) {
    return a.score > b.score;
  });
  std::string out;
  for (const Scored& one : heads) {
    const std::string next =
        fmt::format("{}{} {}", out.empty() ? "" : "  ", one.head.name(), figure(one.score));
    if (columns(out) + columns(next) > width) break;
    out += next;
  }
  return out;
}

int doctor_verb(std::span<const std::string> arguments, Lang lang, std::string& out) {
  while (!arguments.empty() && arguments[0].starts_with("--lang"))
    arguments = arguments.subspan(
        std::min<std::size_t>(arguments[0] == "--lang" ? 2 : 1, arguments.size()));
  if (!arguments.empty() && (arguments[0] == "--help" || arguments[0] == "-h")) {
    out += text(lang, Word::kHelpDoctor);
    return 0;
  }
  for (const Verb& verb : kVerbs) {
    if (!arguments.empty() && arguments[0] == verb.name)
      return verb.body(arguments.subspan(1), lang, out);
  }
  throw Error(ErrorCode::kUsage,
              say(lang,
                  Word::kDoctorNeeds,
                  arguments.empty() ? std::string(text(lang, Word::kDoctorNothing))
                                    : clip(clean(arguments[0]), 40)));
}

}  // namespace headscope::cli
