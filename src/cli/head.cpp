#include "cli/head.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "cli/app.h"
#include "cli/experiment.h"
#include "cli/signals.h"
#include "cli/subject.h"
#include "cli/token_words.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string data, pieces, top, vocabulary, output, save;
};

std::string words_at(const Model& model,
                     std::span<const std::int32_t> ids,
                     std::int64_t first,
                     std::int64_t last) {
  constexpr std::int64_t kAround = 6;
  if (first >= last) return "";
  const bool cut = last - first > kAround;
  const auto text = [&](std::int64_t from, std::int64_t to) {
    return clean(model.tokenizer().decode(
        ids.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from))));
  };
  if (!cut) return text(first, last);
  return text(first, first + kAround / 2) + " ... " + text(last - kAround / 2, last);
}

std::string stripped(const std::string& word) {
  const std::size_t first = word.find_first_not_of(' ');
  return first == word.npos ? "" : word.substr(first, word.find_last_not_of(' ') + 1 - first);
}

// Without the spaces around it, which its place in the text tells of; a token that is nothing but spaces shows them.
std::string word_in_text(const Model& model, std::int32_t id) {
  const std::string bytes = token_bytes(model.tokenizer(), id);
  const std::string bare = stripped(bytes);
  return visible(bare.empty() ? bytes : bare);
}

LinkShown shown(const Model& model, std::span<const Tokens> texts, const doctor::Link& link) {
  constexpr std::int64_t kBeside = 3;
  const auto ids = texts[link.text].ids.span<std::int32_t>();
  const auto T = static_cast<std::int64_t>(ids.size());
  const std::int64_t low = std::min(link.row, link.key), high = std::max(link.row, link.key);
  LinkShown out;
  out.weight = link.weight;
  out.row = word_in_text(model, ids[static_cast<std::size_t>(link.row)]);
  out.key = word_in_text(model, ids[static_cast<std::size_t>(link.key)]);
  out.key_first = link.key < link.row;
  out.before = stripped(words_at(model, ids, std::max<std::int64_t>(0, low - kBeside), low));
  out.between = stripped(words_at(model, ids, low + 1, high));
  out.after = stripped(words_at(model, ids, high + 1, std::min(T, high + 1 + kBeside)));
  return out;
}

std::vector<PairShown> shown(const Model& model, std::span<const doctor::WordPair> pairs) {
  const auto word = [&](std::int32_t id) { return visible(token_bytes(model.tokenizer(), id)); };
  std::vector<PairShown> out;
  for (const doctor::WordPair& pair : pairs)
    out.push_back({pair.from, pair.to, word(pair.from), word(pair.to), pair.score});
  return out;
}

// What each text loses when the head says nothing, or its mean.
void remove_head(const Model& model, const Corpus& corpus, Portrait& out) {
  out.foretells = model.generates();
  doctor::Judge by;
  if (!model.generates()) by.kind = doctor::Judge::Kind::kEmbedding;
  const double sign = model.generates() ? 1.0 : -1.0;
  std::vector<double> zero, mean;
  for (const Tokens& piece : corpus.pieces) {
    if (model.generates() && piece.ids.dim(1) < 2) continue;
    const doctor::Baseline base(model, doctor::copy_of(piece));
    std::vector<Edit> edits(2);
    for (Edit& edit : edits) edit.layer = out.id.layer, edit.head = out.id.head;
    edits[1].kind = Edit::Kind::kMean;
    const double whole = doctor::judge(base, by);
    const std::vector<double> found = doctor::sweep(base, edits, by);
    zero.push_back(sign * (found[0] - whole));
    mean.push_back(sign * (found[1] - whole));
  }
  if (zero.empty()) return;
  out.zero = doctor::bootstrap(zero);
  out.mean = doctor::bootstrap(mean);
}

// What cannot be asked of a model is said, and does not keep the rest from being shown.
template <typename Body>
void unless_unsupported(std::string& why, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    why = error.what();
  }
}

Portrait portray(const Call& call,
                 const Model& model,
                 doctor::HeadId id,
                 const Corpus& corpus,
                 const doctor::CircuitOptions& wishes) {
  const Lang lang = call.screen.lang;
  Portrait out;
  out.id = id;
  out.model = model.name();
  out.about = corpus.about(lang);
  for (const Role& role : model.roles()) {
    if (role.layer == id.layer && role.head == id.head) out.known.push_back(role);
  }
  const doctor::Syntax syntax = follow_trees(call, model, corpus);
  out.trees = along_trees(syntax, id, lang);
  out.about_trees = say(lang,
                        Word::kRolesTrees,
                        counted(lang, Word::kSentences, syntax.sentences),
                        syntax.skipped,
                        counted(lang, Word::kEdges, syntax.unaligned));
  Progress progress(lang, std::string(text(lang, Word::kDoctorLooking)));
  const auto told = telling(progress, call, Word::kDoctorLooking);
  doctor::RolesOptions options;
  options.circuits = false;
  std::size_t at = 0;
  for (const doctor::HeadRoles& head : doctor::roles(model, corpus.pieces, options, told)) {
    if (head.id == id) out.roles = head;
  }
  for (const auto& value : doctor::copying(model, id.layer)) {
    if (static_cast<int>(at++) != id.head || !value) continue;
    doctor::Score& score = out.roles.scores[static_cast<std::size_t>(doctor::Measure::kCopying)];
    score.score = *value;
    score.n = 1;
    score.label =
        *value >= doctor::kMeasureFacts[static_cast<std::size_t>(doctor::Measure::kCopying)].least;
  }
  const doctor::Links links = doctor::strongest_links(model, id, corpus.pieces, wishes.most);
  out.first_mass = links.first_mass;
  for (const doctor::Link& link : links.strongest)
    out.links.push_back(shown(model, corpus.pieces, link));
  unless_unsupported(out.no_circuits, [&] {
    doctor::CircuitOptions own = wishes;
    own.told = told;
    const doctor::Circuits found = doctor::circuits(model, id, own);
    out.words = found.words;
    out.silence = found.silence;
    out.rotary = found.rotary;
    out.by_distance = found.by_distance;
    out.writes = shown(model, found.writes);
    out.seeks = shown(model, found.seeks);
  });
  unless_unsupported(out.no_removal, [&] { remove_head(model, corpus, out); });
  return out;
}

struct Wish {
  HeadId id;
  std::int64_t pieces = 16;
  doctor::CircuitOptions circuits;
};

Wish read_wish(const Call& call, const Options& o) {
  const Lang lang = call.screen.lang;
  if (o.words.size() != 2) {
    throw Error(ErrorCode::kUsage,
                say(lang,
                    Word::kPageNeeds,
                    call.verb,
                    counted(lang, Word::kSaidWords, static_cast<std::int64_t>(o.words.size()))));
  }
  Wish out;
  out.id = parse_head(call, "L.H", o.words[1]);
  if (!o.pieces.empty()) out.pieces = parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  if (!o.top.empty())
    out.circuits.most = static_cast<std::size_t>(parse_integer(call, "--top", o.top, 1, 1000));
  if (!o.vocabulary.empty())
    out.circuits.words = parse_integer(call, "--words", o.vocabulary, 1, INT32_MAX);
  if (!o.output.empty()) {
    if (std::filesystem::path(o.output).extension() != ".html") {
      throw Error(
          ErrorCode::kUsage,
          say(lang, Word::kExpectedFound, call.verb, "--output", "FILE.html", clean(o.output)));
    }
    check_writable(call, o.output);
  }
  if (!o.save.empty()) check_writable(call, o.save);
  return out;
}

void save(const Call& call,
          const Options& o,
          const Wish& wish,
          const Corpus& corpus,
          const Portrait& head) {
  Experiment done{call.verb, o.words.front(), {}, corpus.text, portrait_json(head), {}};
  done.treebank = !corpus.treebank.empty();
  if (done.treebank) done.data = corpus.treebank;
  done.arguments = {fmt::format("--head={}", head.id.name()),
                    fmt::format("--pieces={}", wish.pieces),
                    fmt::format("--top={}", wish.circuits.most)};
  if (wish.circuits.words > 0)
    done.arguments.push_back(fmt::format("--words={}", wish.circuits.words));
  save_experiment(o.save, done);
}

}  // namespace

int head_verb(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("head", lang);
  parser.positionals(o.words);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--top", o.top);
  parser.option("--words", o.vocabulary);
  parser.option("-o,--output", o.output);
  parser.option("--save", o.save);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpHead);
    return 0;
  }
  const Wish wish = read_wish(call, o);
  const Model model = load_model(call, std::span(o.words).first(1), Purpose::kLook);
  const bool sequences = reads_sequences(model);
  if (!model.resumes() || sequences) {
    throw Error(ErrorCode::kUnsupported,
                say(lang,
                    Word::kDoctorOneStack,
                    call.verb,
                    sequences ? clean(model.name()) : model.family()));
  }
  check_head(call, model, wish.id);
  const Corpus corpus = read_corpus(call, model, o.data, wish.pieces);
  const Portrait head = portray(call, model, {wish.id.layer, wish.id.head}, corpus, wish.circuits);
  if (!o.save.empty()) save(call, o, wish, corpus, head);
  if (!o.output.empty()) {
    const Writing writing;
    write_file(o.output, portrait_page(head, call.screen));
  }
  if (call.json) {
    out += portrait_json(head);
    return 0;
  }
  out += portrait_text(head, call.screen);
  for (const std::string& file : {o.output, o.save}) {
    if (!file.empty()) out += "  " + say(lang, Word::kWrote, clean(file)) + '\n';
  }
  return 0;
}

}  // namespace headscope::cli
