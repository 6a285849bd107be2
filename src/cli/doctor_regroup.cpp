// `headscope doctor regroup`: a model whose heads share fewer keys and values.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "doctor/regroup.h"
#include "headscope/error.h"
#include "headscope/generate.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string output, groups, by, data, pieces;
  HealWish heal;
};

struct Speed {
  std::int64_t context = 0;
  double tokens_per_second = 0.0;
};

// Decoding behind a long text, the best of three runs of 16 tokens.
Speed speed_of(const Model& model) {
  constexpr std::int64_t kTokens = 16;
  Speed out;
  out.context = std::min<std::int64_t>(1024, model.positions() - kTokens - 1);
  if (out.context < 1) return out;
  std::vector<std::int32_t> prompt;
  for (std::int64_t i = 0; i < out.context; ++i)
    prompt.push_back(static_cast<std::int32_t>((i * 7919) % model.vocabulary()));
  GenerateOptions options;
  options.positions = out.context + kTokens + 1;
  options.most = 3 * (kTokens + 1);
  options.stop_at_end = false;
  Generator generator(model, options);
  for (int run = 0; run < 3; ++run) {
    generator.read(prompt);
    (void)generator.step();  // what the prompt foretold
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t n = 0; n < kTokens; ++n) (void)generator.step();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    out.tokens_per_second =
        std::max(out.tokens_per_second, static_cast<double>(kTokens) / took.count());
  }
  return out;
}

std::int64_t cache_bytes(const Model& model) {
  std::int64_t out = 0;
  for (int l = 0; l < model.layers(); ++l) {
    const AttentionWeights& w = model.attention(l);
    out += w.groups * (w.width + w.value_width) * 4;
  }
  return out;
}

struct Outcome {
  doctor::Regrouped figures;
  std::int64_t groups = 0, bytes_before = 0, bytes_after = 0;
  Speed before, after;
  std::optional<double> healed;  ///< the loss then
  std::int64_t steps = 0;
  std::string heal_text;
  doctor::Merging how = doctor::Merging::kFitted;
};

doctor::Merging read_how(const Call& call, const std::string& word) {
  if (word.empty() || word == "fitted") return doctor::Merging::kFitted;
  if (word == "mean") return doctor::Merging::kMean;
  throw Error(
      ErrorCode::kUsage,
      say(call.screen.lang, Word::kExpectedFound, call.verb, "--by", "mean | fitted", clean(word)));
}

std::string render(const Screen& screen,
                   const Outcome& done,
                   const Corpus& corpus,
                   const std::string& folder) {
  const Lang lang = screen.lang;
  const doctor::Regrouped& r = done.figures;
  const Word how = done.how == doctor::Merging::kMean ? Word::kRegroupMean : Word::kRegroupFitted;
  std::string out =
      "\n" +
      paint(
          screen,
          Paint::kTitle,
          "  " +
              say(lang, Word::kRegroupTitle, done.groups, r.before, std::string(text(lang, how)))) +
      '\n';
  const auto line = [&](const std::string& what) {
    out += "  " + wrap(what, screen.width, 2) + '\n';
  };
  line(say(lang,
           Word::kRegroupKept,
           fmt::format("{:.1f} %", 100 * r.values_kept),
           fmt::format("{:.1f} %", 100 * r.keys_kept)));
  line(say(lang,
           Word::kRegroupLoss,
           fmt::format("{:.4f}", r.loss_before),
           fmt::format("{:.4f}", r.loss_after),
           fmt::format("{:.2f}", std::exp(r.loss_before)),
           fmt::format("{:.2f}", std::exp(r.loss_after)),
           corpus.about(lang)));
  if (done.healed) {
    line(say(lang,
             Word::kHealed,
             done.steps,
             clean(done.heal_text),
             fmt::format("{:.4f}", r.loss_after),
             fmt::format("{:.4f}", *done.healed)));
  }
  line(say(lang, Word::kRegroupCache, done.bytes_before, done.bytes_after));
  if (done.after.context > 0) {
    line(say(lang,
             Word::kRegroupSpeed,
             figure(done.before.tokens_per_second),
             figure(done.after.tokens_per_second),
             done.after.context));
  }
  line(say(lang, Word::kWrote, clean(folder)));
  return tidy(out);
}

std::string as_json(const Model& model, const Outcome& done, const std::string& folder) {
  const doctor::Regrouped& r = done.figures;
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor regroup");
  json.field("model", model.name()).field("written", folder);
  json.field("by", done.how == doctor::Merging::kMean ? "mean" : "fitted");
  json.field("groups", done.groups).field("groups_before", r.before);
  json.field("values_kept", r.values_kept).field("keys_kept", r.keys_kept);
  json.field("loss_before", r.loss_before).field("loss", r.loss_after);
  if (done.healed) json.field("steps", done.steps).field("loss_healed", *done.healed);
  json.field("perplexity_before", std::exp(r.loss_before));
  json.field("perplexity", std::exp(r.loss_after));
  json.field("cache_bytes_a_token_before", done.bytes_before);
  json.field("cache_bytes_a_token", done.bytes_after);
  if (done.after.context > 0) {
    json.field("context", done.after.context);
    json.field("tokens_per_second_before", done.before.tokens_per_second);
    json.field("tokens_per_second", done.after.tokens_per_second);
  }
  json.end_object();
  return std::move(json).take();
}

}  // namespace

int doctor_regroup(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor regroup", lang);
  parser.positionals(o.words);
  parser.option("-o,--output", o.output);
  parser.option("--groups", o.groups);
  parser.option("--by", o.by);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--heal", o.heal.file);
  parser.option("--steps", o.heal.steps);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorRegroup);
    return 0;
  }
  for (const auto& [name, value] : {std::pair{"--groups", &o.groups}, std::pair{"-o", &o.output}}) {
    if (value->empty())
      throw Error(ErrorCode::kUsage, say(lang, Word::kDoctorNeedsOption, call.verb, name));
  }
  Outcome done;
  done.groups = parse_integer(call, "--groups", o.groups, 1, 1'000'000);
  done.how = read_how(call, o.by);
  const std::int64_t most =
      o.pieces.empty() ? 8 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  check_heal(call, o.heal);
  std::error_code ignored;
  if (std::filesystem::exists(o.output, ignored))
    throw Error(ErrorCode::kUsage, say(lang, Word::kPruneExists, call.verb, clean(o.output)));
  const Model model = load_model(call, o.words, Purpose::kSweep);
  Corpus corpus = read_corpus(call, model, o.data, most);
  std::erase_if(corpus.pieces, [](const Tokens& piece) { return piece.ids.dim(1) < 2; });
  {
    Progress progress{std::string(text(lang, Word::kRegroupWriting))};
    const Writing writing;
    done.figures = doctor::regroup(model,
                                   corpus.pieces,
                                   done.groups,
                                   done.how,
                                   o.output,
                                   telling(progress, call, Word::kRegroupWriting));
  }
  if (!o.heal.file.empty()) {
    done.steps = heal_steps(call, o.heal);
    done.heal_text = std::filesystem::path(o.heal.file).filename().string();
    done.healed = heal_folder(call, o.output, o.heal, corpus.pieces);
  }
  const Model smaller = Model::load(o.output);
  done.bytes_before = cache_bytes(model);
  done.bytes_after = cache_bytes(smaller);
  done.before = speed_of(model);
  done.after = speed_of(smaller);
  out += call.json ? as_json(model, done, o.output) : render(call.screen, done, corpus, o.output);
  return 0;
}

}  // namespace headscope::cli
