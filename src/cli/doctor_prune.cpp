// `headscope doctor prune`: a model without the heads that it does not need.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "cli/doctor.h"
#include "cli/json_writer.h"
#include "cli/signals.h"
#include "doctor/prune.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string output, heads, share, loss, by, order, data, pieces;
  HealWish heal;
};

constexpr std::array<std::string_view, 2> kInsteads = {"zero", "mean"};
constexpr std::array<std::string_view, 3> kOrders = {"harm", "gradient", "gates"};
constexpr std::array kRanking = {
    Word::kDoctorAblating, Word::kDoctorForetelling, Word::kDoctorLearningGates};

/// How many heads may go.
struct Wish {
  std::optional<std::int64_t> keep;
  std::optional<double> share, loss;
};

Wish read_wish(const Call& call, const Options& o) {
  Wish out;
  const int said = (o.heads.empty() ? 0 : 1) + (o.share.empty() ? 0 : 1) + (o.loss.empty() ? 0 : 1);
  if (said > 1 || (said == 0 && !o.output.empty())) {
    throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kPruneOneWish, call.verb, said));
  }
  if (!o.heads.empty()) out.keep = parse_integer(call, "--heads", o.heads, 0, 1'000'000);
  const auto number = [&](std::string_view option, const std::string& word, double most) {
    const double x = parse_number(call, option, word);
    if (x >= 0.0 && x <= most) return x;
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    option,
                    say(call.screen.lang, Word::kANumber) + fmt::format(" 0..{}", most),
                    clean(word)));
  };
  if (!o.share.empty()) out.share = number("--share", o.share, 1.0);
  if (!o.loss.empty()) out.loss = number("--loss", o.loss, 1e6);
  if (o.output.empty() && (said > 0 || !o.heal.file.empty()))
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, "-o"));
  return out;
}

// How many heads stay, of H; nothing when the loss decides.
std::optional<std::int64_t> kept_of(const Call& call, const Wish& wish, std::int64_t H) {
  if (wish.loss) return std::nullopt;
  std::int64_t keep = wish.keep.value_or(H);
  if (wish.share) keep = static_cast<std::int64_t>(*wish.share * static_cast<double>(H) + 0.5);
  if (keep > H) {
    throw Error(ErrorCode::kRange,
                say(call.screen.lang,
                    Word::kExpectedFound,
                    call.verb,
                    "--heads",
                    say(call.screen.lang, Word::kNumberFromTo, 0, H),
                    keep));
  }
  return keep;
}

struct Outcome {
  std::size_t gone = 0;
  double harm = 0.0;
  std::string written;  ///< folder, or ""
  std::optional<Healed> healed;
};

std::string render(const Screen& screen,
                   const Corpus& corpus,
                   bool embeds,
                   const doctor::Curve& curve,
                   const Outcome& done) {
  const Lang lang = screen.lang;
  std::string out =
      "\n" + paint(screen, Paint::kTitle, "  " + std::string(text(lang, Word::kPruneTitle))) + '\n';
  double most = 1e-9;
  for (const auto& point : curve.points) most = std::max(most, point.harm);
  for (const auto& point : curve.points) {
    out += "  " + right(counted(lang, Word::kHeads, static_cast<std::int64_t>(point.kept)), 12) +
           "  " + bar(std::max(0.0, point.harm / most), 30) + ' ' +
           fmt::format("{:+.4f}", point.harm) + '\n';
  }
  const std::string about =
      embeds ? say(lang, Word::kPruneNoteEmbeds, corpus.about(lang))
             : say(lang, Word::kPruneNote, fmt::format("{:.4f}", curve.base), corpus.about(lang));
  out += paint(screen, Paint::kDim, "  " + wrap(about, screen.width, 2)) + '\n';
  if (!done.written.empty()) {
    out += "  " +
           say(lang,
               Word::kPruneWrote,
               clean(done.written),
               curve.order.size() - done.gone,
               curve.order.size(),
               fmt::format("{:+.4f}", done.harm)) +
           '\n';
  }
  if (done.healed) {
    out += "  " +
           say(lang,
               Word::kHealed,
               done.healed->steps,
               clean(done.healed->text),
               fmt::format("{:.4f}", curve.base + done.harm),
               fmt::format("{:.4f}", done.healed->loss)) +
           '\n';
  }
  return tidy(out);
}

std::string as_json(const Model& model,
                    const doctor::Curve& curve,
                    std::size_t order,
                    const Outcome& done) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor prune");
  json.field("model", model.name()).field("judge", model.generates() ? "loss" : "embedding");
  json.field("base", curve.base).key("curve").begin_array();
  for (const auto& point : curve.points)
    json.begin_object().field("kept", point.kept).field("harm", point.harm).end_object();
  json.end_array().field("order_by", kOrders[order]).key("order").begin_array();
  for (std::size_t i = 0; i < curve.order.size(); ++i) {
    json.begin_object().field("layer", curve.order[i].layer).field("head", curve.order[i].head);
    json.field(kOrders[order] == "gates" ? "open" : kOrders[order], curve.worth[i])
        .field("gone", i < done.gone && !done.written.empty())
        .end_object();
  }
  json.end_array();
  if (!done.written.empty())
    json.field("written", done.written).field("gone", done.gone).field("harm", done.harm);
  if (done.healed) json.field("steps", done.healed->steps).field("loss_healed", done.healed->loss);
  json.end_object();
  return std::move(json).take();
}

}  // namespace

int doctor_prune(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor prune", lang);
  parser.positionals(o.words);
  parser.option("-o,--output", o.output);
  parser.option("--heads", o.heads);
  parser.option("--share", o.share);
  parser.option("--loss", o.loss);
  parser.option("--by", o.by);
  parser.option("--order", o.order);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--heal", o.heal.file);
  parser.option("--steps", o.heal.steps);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorPrune);
    return 0;
  }
  const Wish wish = read_wish(call, o);
  check_heal(call, o.heal);
  const auto instead = static_cast<doctor::Instead>(parse_choice(call, "--by", o.by, kInsteads));
  const std::size_t order = parse_choice(call, "--order", o.order, kOrders);
  const std::int64_t most =
      o.pieces.empty() ? 4 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  if (!o.output.empty()) o.output = new_folder(call, o.output);
  const Model model = load_model(call, o.words, Purpose::kSweep);
  const auto keep = kept_of(call, wish, static_cast<std::int64_t>(doctor::heads_of(model).size()));
  std::vector<std::int32_t> heal_ids;
  if (!o.output.empty()) doctor::check_prunable(model, instead);
  if (!o.heal.file.empty()) heal_ids = read_heal(call, model, o.heal);
  const Corpus corpus = read_corpus(call, model, o.data, most);
  doctor::Curve curve;
  Outcome done;
  {
    Progress progress{std::string(text(lang, kRanking[order]))};
    curve = doctor::prune_curve(model,
                                corpus.pieces,
                                instead,
                                {.order = static_cast<doctor::Order>(order),
                                 .told = telling(progress, call, kRanking[order])});
    if (!o.output.empty()) {
      done.gone =
          keep ? curve.order.size() - static_cast<std::size_t>(*keep)
               : doctor::gone_within(model, corpus.pieces, curve, wish.loss.value(), instead);
      done.harm = doctor::harm_without(model, corpus.pieces, curve, done.gone, instead);
    }
  }
  if (!o.output.empty()) {
    const Writing writing;
    doctor::write_pruned(model, curve, done.gone, instead, o.output);
    MadeFolder made(o.output);
    if (!o.heal.file.empty())
      done.healed = heal_folder(call, o.output, o.heal, heal_ids, corpus.pieces);
    made.keep();
    done.written = o.output;
  }
  out += call.json ? as_json(model, curve, order, done)
                   : render(call.screen, corpus, !model.generates(), curve, done);
  return 0;
}

}  // namespace headscope::cli
