#include "cli/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "cli/app.h"
#include "cli/edits.h"
#include "cli/experiment.h"
#include "cli/input.h"
#include "cli/json_writer.h"
#include "cli/progress.h"
#include "cli/sequences.h"
#include "cli/subject.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words, zero, mean, scale, stops, columns;
  std::string output, edits, tokens, temperature, top_k, top_p, min_p, penalty, seed, context,
      cache, system, language, save;
  bool chat = false, truncate = false, window = false, look = false, exact = false,
       perplexity = false, embed = false, translate = false;
};

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("-n,--tokens", o.tokens);
  parser.option("-o,--output", o.output);
  parser.repeated("--column", o.columns);
  parser.option("--temperature", o.temperature);
  parser.option("--top-k", o.top_k);
  parser.option("--top-p", o.top_p);
  parser.option("--min-p", o.min_p);
  parser.option("--repetition-penalty", o.penalty);
  parser.option("--seed", o.seed);
  parser.repeated("--stop", o.stops);
  parser.option("--context", o.context);
  parser.option("--cache", o.cache);
  parser.option("--system", o.system);
  parser.option("--edits", o.edits);
  parser.repeated("--zero", o.zero);
  parser.repeated("--mean", o.mean);
  parser.repeated("--scale", o.scale);
  parser.flag("--chat", o.chat);
  parser.flag("--truncate", o.truncate);
  parser.flag("--window", o.window);
  parser.flag("--look", o.look);
  parser.flag("--exact", o.exact);
  parser.flag("--perplexity", o.perplexity);
  parser.flag("--embed", o.embed);
  parser.option("--language", o.language);
  parser.flag("--translate", o.translate);
  parser.option("--save", o.save);
}

void set(const Call& call, std::string_view option, const std::string& word, float& to) {
  if (!word.empty()) to = static_cast<float>(parse_number(call, option, word));
}

constexpr std::int64_t kMostTokens = std::int64_t{1} << 31;

// What -n asks for: how little and how much may be asked for is known with the model.
std::int64_t tokens_wanted(const Call& call, const std::string& word) {
  std::int64_t out = 0;
  const char* const end = word.data() + word.size();
  const auto [at, error] = std::from_chars(word.data(), end, out);
  return error == std::errc() && at == end ? out : parse_integer(call, "-n", word, 0, kMostTokens);
}

RunWishes read_wishes(const Call& call, const Options& o) {
  RunWishes out;
  GenerateOptions& g = out.generate;
  SamplingOptions& s = g.sampling;
  if (!o.tokens.empty()) g.most = tokens_wanted(call, o.tokens);
  if (!o.context.empty()) g.positions = parse_integer(call, "--context", o.context, 1, kMostTokens);
  if (!o.cache.empty()) g.cache = parse_cache(call, o.cache);
  set(call, "--temperature", o.temperature, s.temperature);
  set(call, "--top-p", o.top_p, s.top_p);
  set(call, "--min-p", o.min_p, s.min_p);
  set(call, "--repetition-penalty", o.penalty, s.repetition_penalty);
  if (!o.top_k.empty())
    s.top_k =
        static_cast<std::int32_t>(parse_integer(call, "--top-k", o.top_k, 0, kMostTokens - 1));
  if (!o.seed.empty())
    s.seed = static_cast<std::uint64_t>(parse_integer(call, "--seed", o.seed, 0, INT64_MAX));
  (void)Sampler(s);  // Says at once what is out of range.
  (void)StopText(o.stops);
  g.edits = parse_edits(call, o.zero, o.mean, o.scale);
  if (!o.edits.empty()) {
    const std::vector<Edit> more = read_edits(o.edits);
    g.edits.insert(g.edits.end(), more.begin(), more.end());
    check_edited_once(call, g.edits);
  }
  out.stops = o.stops;
  out.system = o.system;
  out.chat = o.chat;
  out.truncate = o.truncate;
  out.window = g.slide = o.window;
  out.look = o.look;
  out.language = o.language;
  out.translate = o.translate;
  return out;
}

// As with the other results of a text: what --json prints; without it `out` gets the words.
std::string perplexity(const Call& call,
                       const Model& model,
                       const std::string& text,
                       const RunWishes& wishes,
                       std::string& out) {
  const std::vector<std::int32_t> ids = model.tokenizer().encode(text).ids;
  const Progress progress(call.screen.lang, say(call.screen.lang, Word::kRunReading, ids.size()));
  const Foresight found = foresight(model, ids, foresight_options(wishes));
  if (!call.json) tell_foresight(call, model, found, out);
  return foresight_json(model, found);
}

// Numbers of the largest `most` of a row, largest first.
std::vector<std::size_t> largest(std::span<const float> row, std::size_t most) {
  std::vector<std::size_t> order(row.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::size_t n = std::min(most, order.size());
  std::partial_sort(order.begin(),
                    order.begin() + static_cast<std::ptrdiff_t>(n),
                    order.end(),
                    [&](std::size_t a, std::size_t b) { return row[a] > row[b]; });
  order.resize(n);
  return order;
}

std::vector<float> softmax(std::span<const float> row) {
  std::vector<float> out(row.begin(), row.end());
  const float top = *std::max_element(out.begin(), out.end());
  double sum = 0.0;
  for (float& x : out) sum += static_cast<double>(x = std::exp(x - top));
  for (float& x : out) x = static_cast<float>(static_cast<double>(x) / sum);
  return out;
}

// What stands on top of an encoder: shares of its labels, or of the words that fit a masked place.
struct Choice {
  std::string of;
  std::vector<std::pair<std::string, float>> best;
};

std::vector<Choice> choices(const Model& model, const Subject& subject, const Run& run) {
  constexpr std::size_t kMost = 5;
  std::vector<Choice> out;
  const Shape& shape = run.logits.shape();
  const auto add = [&](std::string of, std::span<const float> row, bool tokens) {
    const std::vector<float> p = softmax(row);
    Choice choice{std::move(of), {}};
    for (const std::size_t n : largest(p, kMost)) {
      const auto id = static_cast<std::int32_t>(n);
      choice.best.emplace_back(tokens ? model.tokenizer().token_of(id) : model.label(id), p[n]);
    }
    out.push_back(std::move(choice));
  };
  const std::span<const float> all = run.logits.span<float>();
  if (shape.size() == 2) {
    add(subject.text, all.first(static_cast<std::size_t>(shape[1])), false);
    return out;
  }
  const auto V = static_cast<std::size_t>(shape[2]);
  const bool words = shape[2] == model.vocabulary();
  for (std::size_t i = 0; i < subject.labels.size(); ++i) {
    const std::string& token = subject.labels[i].text;
    const bool masked = token == "[MASK]" || token == "<mask>";
    if (words ? masked : !subject.labels[i].special) add(token, all.subspan(i * V, V), words);
  }
  return out;
}

std::string judge(const Call& call,
                  const Subject& subject,
                  const RunWishes& wishes,
                  bool embed,
                  std::string& out) {
  const Model& model = subject.model;
  RunOptions options;
  options.edits = wishes.generate.edits;
  const Run run = model.run(subject.tokens, options);
  std::vector<Choice> found;
  const bool picture = !subject.layers.empty();
  if (!embed && !run.logits.empty() && (!picture || run.logits.shape().size() == 2))
    found = choices(model, subject, run);
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
  json.field("model", model.name());
  if (!found.empty()) {
    json.key("choices").begin_array();
    for (const Choice& choice : found) {
      json.begin_object().field("of", choice.of).key("best").begin_array();
      for (const auto& [name, p] : choice.best)
        json.begin_object().field("name", name).field("probability", p).end_object();
      json.end_array().end_object();
      if (call.json) continue;
      out += paint(call.screen, Paint::kTitle, clip(clean(choice.of), call.screen.width)) + '\n';
      for (const auto& [name, p] : choice.best)
        out += "  " + share(static_cast<double>(p)) + "  " + bar(static_cast<double>(p), 20) +
               "  " + clean(name) + '\n';
    }
    json.end_array();
  } else {
    const Tensor embedding = model.embedding(run, subject.tokens.attention_mask);
    json.array<float>("embedding", embedding.span<float>());
    if (!call.json) {
      for (std::size_t c = 0; const float x : embedding.span<float>())
        out += fmt::format("{}{:.6g}", c++ == 0 ? "" : " ", x);
      out += '\n';
    }
  }
  return std::move(json.end_object()).take();
}

struct Given {
  bool given;
  const char* option;
};

// What only an answer, token by token, has a use for.
std::vector<Given> answer_options(const Options& o) {
  return {{o.chat, "--chat"},
          {o.look, "--look"},
          {o.window, "--window"},
          {!o.stops.empty(), "--stop"},
          {!o.system.empty(), "--system"},
          {!o.temperature.empty(), "--temperature"},
          {!o.top_k.empty(), "--top-k"},
          {!o.top_p.empty(), "--top-p"},
          {!o.min_p.empty(), "--min-p"},
          {!o.penalty.empty(), "--repetition-penalty"},
          {!o.seed.empty(), "--seed"}};
}

// Options that have no use for one another are refused: nobody should wait for what does not come.
void check_together(const Call& call, const Options& o, bool talks) {
  const auto refuse = [&](std::string_view with, std::string_view needs, std::string_view other) {
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    with,
                    needs,
                    other.empty() ? std::string(with) : fmt::format("{} {}", with, other)));
  };
  std::vector<Given> others = answer_options(o);
  others.push_back({!o.tokens.empty(), "-n"});
  if (o.embed) {
    others.push_back({!o.context.empty(), "--context"});
    others.push_back({!o.cache.empty(), "--cache"});
  }
  if (o.perplexity) {
    others.push_back({o.truncate, "--truncate"});
    others.push_back({o.embed, "--embed"});
  }
  for (const auto& [given, option] : others) {
    if (given && o.perplexity) refuse("--perplexity", "TEXT", option);
    if (given && o.embed) refuse("--embed", "TEXT", option);
  }
  if (!o.system.empty() && !o.chat) refuse("--system", "--chat", "");
  if (call.json && talks) refuse("--json", "TEXT", "--chat");
  if (!o.save.empty() && talks) refuse("--save", "TEXT", "--chat");
}

// The same for options that a model of this kind has no use for.
void check_wishes(const Call& call, const Model& model, const Options& o) {
  const Lang lang = call.screen.lang;
  const std::string name = clean(model.name());
  std::vector<Given> on_text = answer_options(o);
  on_text.push_back({o.perplexity, "--perplexity"});
  on_text.push_back({!o.context.empty(), "--context"});
  on_text.push_back({!o.cache.empty(), "--cache"});
  const SequenceCode code = code_beside(model);
  const bool sequence = code.notes || code.numbers;
  if (!sequence && !o.tokens.empty()) (void)parse_integer(call, "-n", o.tokens, 0, kMostTokens);
  const Given on_sequence[] = {{!o.output.empty(), "--output"}, {!o.columns.empty(), "--column"}};
  for (const auto& [given, option] : on_sequence) {
    if (given && (!sequence || o.embed))
      throw Error(ErrorCode::kUnsupported, say(lang, Word::kRunNoSequence, option, name));
  }
  const Given on_words[] = {{o.chat, "--chat"},
                            {o.look, "--look"},
                            {o.window, "--window"},
                            {!o.stops.empty(), "--stop"},
                            {!o.system.empty(), "--system"}};
  for (const auto& [given, option] : on_words) {
    if (given && sequence)
      throw Error(ErrorCode::kUnsupported, say(lang, Word::kRunNoTalk, option, name));
  }
  if (model.hears()) {
    const auto refuse = [&](std::string_view found) {
      throw Error(ErrorCode::kUsage, say(lang, Word::kRunHears, name, found));
    };
    for (const auto& [given, option] : on_text) {
      if (given) refuse(option);
    }
    if (o.embed) refuse("--embed");
    if (o.truncate) refuse("--truncate");
    if (o.words.size() != 2)
      refuse(
          clip(clean(fmt::format("{}", fmt::join(o.words.begin() + 1, o.words.end(), " "))), 60));
    return;
  }
  const bool speech = o.translate || !o.language.empty();
  const bool sound = o.words.size() == 2 && is_sound(o.words[1]);
  if (speech || sound) {
    const std::string what =
        sound ? clean(o.words[1]) : std::string(o.translate ? "--translate" : "--language");
    throw Error(ErrorCode::kUsage, say(lang, Word::kRunNotHearing, what, name));
  }
  const bool goes_on = model.generates() && !o.embed;
  on_text.push_back({!o.tokens.empty(), "-n"});
  for (const auto& [given, option] : on_text) {
    if (given && (!goes_on || (o.perplexity && model.encoder_layers() > 0)))
      throw Error(ErrorCode::kUnsupported, say(lang, Word::kRunNoTalk, option, name));
  }
}

}  // namespace

ForesightOptions foresight_options(const RunWishes& wishes) {
  return {.edits = wishes.generate.edits,
          .window = wishes.generate.positions,
          .cache = wishes.generate.cache};
}

std::string foresight_json(const Model& model, const Foresight& found) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "run");
  json.field("model", model.name()).field("tokens", found.tokens);
  json.field("nll", found.nll).field("perplexity", found.perplexity());
  json.array<float>("each", found.each).end_object();
  return std::move(json).take();
}

int tell_foresight(const Call& call, const Model& model, const Foresight& found, std::string& out) {
  if (call.json) {
    out += foresight_json(model, found);
    return 0;
  }
  out += say(call.screen.lang,
             Word::kRunPerplexity,
             figure(found.perplexity()),
             figure(found.nll),
             counted(call.screen.lang, Word::kTokens, found.tokens)) +
         '\n';
  return 0;
}

namespace {

// --save keeps the input itself, and JSON holds text.
void check_saves_text(const Call& call, const Options& o, const std::string& found) {
  if (!o.save.empty())
    throw Error(ErrorCode::kUnsupported,
                say(call.screen.lang, Word::kSaveNeedsText, call.verb, clean(found)));
}

// What --save keeps of the call besides text and edits: what was said, and of an answer also what is so unsaid.
std::vector<std::string> saved_options(const Options& o, const RunWishes& wishes, bool answers) {
  std::vector<std::string> out;
  const SamplingOptions& s = wishes.generate.sampling;
  const auto unless = [&](const std::string& said, auto unsaid) {
    return said.empty() && answers ? fmt::format("{}", unsaid) : said;
  };
  for (const auto& [name, value] :
       {std::pair{"--tokens", unless(o.tokens, wishes.generate.most)},
        std::pair{"--temperature", unless(o.temperature, s.temperature)},
        std::pair{"--top-k", o.top_k},
        std::pair{"--top-p", o.top_p},
        std::pair{"--min-p", o.min_p},
        std::pair{"--repetition-penalty", o.penalty},
        std::pair{"--seed", unless(o.seed, s.seed)},
        std::pair{"--context", o.context},
        std::pair{"--cache", o.cache},
        std::pair{"--system", o.system}}) {
    if (!value.empty()) out.push_back(fmt::format("{}={}", name, value));
  }
  for (const std::string& stop : o.stops) out.push_back("--stop=" + stop);
  for (const auto& [given, name] : {Given{o.chat, "--chat"},
                                    {o.truncate, "--truncate"},
                                    {o.window, "--window"},
                                    {o.look, "--look"},
                                    {o.exact, "--exact"},
                                    {o.perplexity, "--perplexity"},
                                    {o.embed, "--embed"}}) {
    if (given) out.emplace_back(name);
  }
  return out;
}

Model load(const Call& call, const Options& o) {
  check_model(call, o.words[0]);
  const Progress progress(call.screen.lang,
                          say(call.screen.lang, Word::kLoading, clean(o.words[0])));
  return Model::load(o.words[0], o.exact ? Linear::Compute::kExact : Linear::Compute::kFast);
}

// A picture or a video; nullopt: it is none.
std::optional<int> look_at(
    const Call& call, const Options& o, const RunWishes& wishes, Model& model, std::string& out) {
  Subject subject(std::move(model), "");
  if (!prepare_other(call, std::span(o.words).subspan(1), {}, subject)) {
    model = std::move(subject.model);
    return std::nullopt;
  }
  check_saves_text(call, o, o.words[1]);
  for (const Edit& edit : wishes.generate.edits)
    check_head(call, subject.model, {edit.layer, edit.head});
  for (const std::string& remark : subject.remarks) std::fprintf(stderr, "%s\n", remark.c_str());
  const std::string found = judge(call, subject, wishes, o.embed, out);
  if (call.json) out += found;
  return 0;
}

// A tune or a table goes on. Words that a shell has split are no file's name, and are named as they stand.
int go_on_with(const Call& call,
               const Options& o,
               const RunWishes& wishes,
               const Model& model,
               const SequenceCode& code,
               std::string& out) {
  GoOnWishes more;
  more.output = o.output;
  more.columns = o.columns;
  more.tokens_given = !o.tokens.empty();
  more.temperature_given = !o.temperature.empty();
  more.perplexity = o.perplexity;
  if (!o.output.empty()) check_writable(call, o.output);
  const std::string input = fmt::format("{}", fmt::join(o.words.begin() + 1, o.words.end(), " "));
  return go_on(call, model, code, input, wishes, more, out);
}

// With `again` MODEL stands alone, and text and edits come from there.
int run_with(std::span<const std::string> arguments,
             Lang lang,
             std::string& out,
             const Setup* again) {
  Parser parser("run", lang);
  Options o;
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpRun);
    return 0;
  }
  RunWishes wishes = read_wishes(call, o);
  wishes.surprise = call.json || !o.save.empty();
  if (again != nullptr) {
    check_edited_once(call, again->edits);
    wishes.generate.edits = again->edits;
  }
  const bool talks = o.chat && o.words.size() == 1 && again == nullptr;
  check_together(call, o, talks);
  if (o.words.empty() || (o.words.size() < 2 && !talks && again == nullptr)) {
    if (!o.words.empty()) check_needs_text(call, o.words[0]);
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kRunNeeds, o.words.empty() ? "MODEL" : clean(o.words[0])));
  }
  if (!o.save.empty()) check_writable(call, o.save);
  Model model = load(call, o);
  check_wishes(call, model, o);
  if (model.sees() && !o.perplexity && o.words.size() == 2) {
    if (const auto status = look_at(call, o, wishes, model, out)) return *status;
  }
  for (const Edit& edit : wishes.generate.edits) check_head(call, model, {edit.layer, edit.head});
  const SequenceCode code = code_beside(model);
  if (code.notes || code.numbers || model.hears())
    check_saves_text(call, o, o.words.size() > 1 ? o.words[1] : o.words[0]);
  if ((code.notes || code.numbers) && model.generates() && !o.embed && o.words.size() > 1)
    return go_on_with(call, o, wishes, model, code, out);
  if (model.hears()) return hear(call, model, o.words.at(1), wishes, out);
  if (talks) return talk(call, model, wishes);
  const std::string prompt =
      again != nullptr ? again->input : read_input(call, std::span(o.words).subspan(1));
  const bool answers = !o.perplexity && !o.embed && model.generates();
  std::string found;
  if (o.perplexity) {
    found = perplexity(call, model, prompt, wishes, out);
  } else if (answers) {
    found = answer(call, model, prompt, wishes);
  } else {
    const Subject subject = prepare(call, std::move(model), o.words[0], prompt, o.truncate);
    found = judge(call, subject, wishes, o.embed, out);
  }
  if (!o.save.empty()) {
    Experiment done{call.verb, o.words[0], saved_options(o, wishes, answers), "", found, {}};
    done.setup = Setup{prompt, wishes.generate.edits};
    save_experiment(o.save, done);
  }
  if (call.json) out += found;
  return 0;
}

}  // namespace

int run_model(std::span<const std::string> arguments, Lang lang, std::string& out) {
  return run_with(arguments, lang, out, nullptr);
}

int run_again(std::span<const std::string> arguments,
              Lang lang,
              std::string& out,
              const Setup& setup) {
  return run_with(arguments, lang, out, &setup);
}

}  // namespace headscope::cli
