// `headscope doctor regroup`: a model whose heads share fewer keys and values.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "architect/plan.h"
#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "doctor/regroup.h"
#include "headscope/error.h"
#include "models/network.h"
#include "models/widen.h"

namespace headscope::cli {

namespace {

constexpr std::array<std::string_view, 2> kMergings = {"fitted", "mean"};

struct Options {
  std::vector<std::string> words;
  std::string output, groups, by, data, pieces;
  HealWish heal;
};

struct Speed {
  std::int64_t context = 0;
  double before = 0.0, after = 0.0;  ///< tokens a second
};

// Behind so many keys that nobody wrote, the best of some tokens.
double decode_speed(const Model& model, std::int64_t context) {
  constexpr int kTokens = 8;
  KvCache cache = model.cache(DType::kF32, context + kTokens);
  architect::fill(cache, context);
  Tokens token;
  token.ids = Tensor::zeros(DType::kI32, {1, 1});
  RunOptions options;
  options.caches = {&cache};
  options.logits_rows = 1;
  double best = 0.0;
  for (int n = 0; n < kTokens; ++n) {
    const auto start = std::chrono::steady_clock::now();
    (void)model.run(token, options);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, 1.0 / took.count());
  }
  return best;
}

// Both models at the same lengths, in turns: as far as their positions go.
std::vector<Speed> speeds_of(const Model& before, const Model& after) {
  const std::int64_t most = std::min(before.positions(), after.positions()) - 16;
  std::vector<Speed> out;
  for (std::int64_t context : {1024, 8192, 32768}) {
    context = std::min<std::int64_t>(context, most);
    if (context < 1 || (!out.empty() && context <= out.back().context)) continue;
    out.push_back({context, decode_speed(before, context), decode_speed(after, context)});
  }
  return out;
}

struct Outcome {
  doctor::Regrouped figures;
  std::int64_t groups = 0;
  std::uint64_t bytes_before = 0, bytes_after = 0;  ///< of a token's keys and values
  std::vector<Speed> speeds;
  std::optional<Healed> healed;
  doctor::Merging how = doctor::Merging::kFitted;
};

std::string render(const Screen& screen,
                   const Outcome& done,
                   const Corpus& corpus,
                   const std::string& folder) {
  const Lang lang = screen.lang;
  const doctor::Regrouped& r = done.figures;
  const Word how = done.how == doctor::Merging::kMean ? Word::kRegroupMean : Word::kRegroupFitted;
  std::string out = "\n" +
                    paint(screen,
                          Paint::kTitle,
                          "  " + say(lang,
                                     Word::kRegroupTitle,
                                     counted(lang, Word::kGroups, done.groups),
                                     r.before,
                                     std::string(text(lang, how)))) +
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
           r.judged.size() == corpus.pieces.size()
               ? say(lang, Word::kRegroupSame, corpus.about(lang))
               : say(lang,
                     Word::kRegroupHeldOut,
                     corpus.about(lang),
                     counted(lang, Word::kPieces, static_cast<std::int64_t>(r.judged.size())))));
  if (done.healed) {
    line(say(lang,
             Word::kHealed,
             counted(lang, Word::kSteps, done.healed->steps),
             clean(done.healed->text),
             fmt::format("{:.4f}", r.loss_after),
             fmt::format("{:.4f}", done.healed->loss)));
  }
  line(say(lang, Word::kRegroupCache, done.bytes_before, done.bytes_after));
  for (const Speed& speed : done.speeds)
    line(say(lang,
             Word::kRegroupSpeed,
             figure(speed.before),
             figure(speed.after),
             counted(lang, Word::kOfTokens, speed.context)));
  if (r.moved()) line(std::string(text(lang, Word::kRegroupMoved)));
  line(say(lang, Word::kWrote, clean(folder)));
  return tidy(out);
}

std::string as_json(const Model& model,
                    const Outcome& done,
                    const Corpus& corpus,
                    const std::string& folder) {
  const doctor::Regrouped& r = done.figures;
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor regroup");
  json.field("model", model.name()).field("written", folder);
  json.field("by", done.how == doctor::Merging::kMean ? "mean" : "fitted");
  json.field("groups", done.groups).field("groups_before", r.before);
  json.field("values_kept", r.values_kept).field("keys_kept", r.keys_kept);
  json.field("loss_before", r.loss_before).field("loss", r.loss_after);
  json.field("texts", corpus.pieces.size()).array("judged", std::span(r.judged));
  if (done.healed) json.field("steps", done.healed->steps).field("loss_healed", done.healed->loss);
  json.field("perplexity_before", std::exp(r.loss_before));
  json.field("perplexity", std::exp(r.loss_after));
  json.field("cache_bytes_a_token_before", done.bytes_before);
  json.field("cache_bytes_a_token", done.bytes_after);
  json.key("decode").begin_array();
  for (const Speed& speed : done.speeds) {
    json.begin_object().field("context", speed.context);
    json.field("tokens_per_second_before", speed.before);
    json.field("tokens_per_second", speed.after).end_object();
  }
  json.end_array();
  if (r.moved()) {
    json.key("group_order").begin_array();
    for (const auto& layer : r.order) {
      json.begin_array();
      for (const std::int64_t group : layer) json.value(group);
      json.end_array();
    }
    json.end_array();
  }
  json.end_object();
  return std::move(json).take();
}

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("-o,--output", o.output);
  parser.option("--groups", o.groups);
  parser.option("--by", o.by);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--heal", o.heal.file);
  parser.option("--steps", o.heal.steps);
}

}  // namespace

int doctor_regroup(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor regroup", lang);
  declare(parser, o);
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
  done.how = parse_choice(call, "--by", o.by, kMergings) == 0 ? doctor::Merging::kFitted
                                                              : doctor::Merging::kMean;
  const std::int64_t most =
      o.pieces.empty() ? 8 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  check_heal(call, o.heal);
  o.output = new_folder(call, o.output);
  const Model model = load_model(call, o.words, Purpose::kSweep);
  std::vector<std::int32_t> heal_ids;
  if (!o.heal.file.empty()) heal_ids = read_heal(call, model, o.heal);
  Corpus corpus = read_corpus(call, model, o.data, most);
  std::erase_if(corpus.pieces, [](const Tokens& piece) { return piece.ids.dim(1) < 2; });
  {
    const Writing writing;
    {
      Progress progress(lang, std::string(text(lang, Word::kRegroupWriting)));
      done.figures = doctor::regroup(model,
                                     corpus.pieces,
                                     done.groups,
                                     done.how,
                                     o.output,
                                     telling(progress, call, Word::kRegroupWriting));
    }
    MadeFolder made(o.output);
    if (!o.heal.file.empty()) {
      std::vector<Tokens> judged;
      for (const std::size_t n : done.figures.judged)
        judged.push_back(doctor::copy_of(corpus.pieces[n]));
      done.healed = heal_folder(call, o.output, o.heal, heal_ids, judged);
    }
    made.keep();
  }
  LoadOptions wide;  // as the model before was loaded
  wide.change = models::widen;
  const Model smaller = Model::load(o.output, wide);
  const auto bytes = [](const Model& m) {
    return architect::cache_bytes(m.network().blueprint(), DType::kF32, 1);
  };
  done.bytes_before = bytes(model);
  done.bytes_after = bytes(smaller);
  done.speeds = speeds_of(model, smaller);
  out += call.json ? as_json(model, done, corpus, o.output)
                   : render(call.screen, done, corpus, o.output);
  return 0;
}

}  // namespace headscope::cli
