// `headscope doctor prune`: a model without the heads that it does not need.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "cli/doctor.h"
#include "cli/experiment.h"
#include "cli/json_writer.h"
#include "cli/kept.h"
#include "cli/signals.h"
#include "doctor/prune.h"
#include "headscope/error.h"
#include "models/pruned.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string output, heads, share, loss, by, order, data, pieces, results, save;
  HealWish heal;
  bool shrink = false;
};

constexpr std::array<std::string_view, 2> kInsteads = {"zero", "mean"};
constexpr std::array<std::string_view, 3> kOrders = {"harm", "gradient", "gates"};
constexpr std::array kRanking = {
    Word::kDoctorAblating, Word::kDoctorForetelling, Word::kDoctorLearningGates};

struct Wish {
  std::optional<std::int64_t> keep;  ///< how many heads may go: one of these three
  std::optional<double> share, loss;
  std::size_t by = 0, order = 0;  ///< of kInsteads, of kOrders
  std::int64_t pieces = 4;
  doctor::Shapes shapes = doctor::Shapes::kStay;

  [[nodiscard]] doctor::Instead instead() const { return static_cast<doctor::Instead>(by); }
};

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("-o,--output", o.output);
  parser.option("--heads", o.heads);
  parser.option("--share", o.share);
  parser.option("--loss", o.loss);
  parser.option("--by", o.by);
  parser.option("--order", o.order);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--results", o.results);
  parser.option("--save", o.save);
  parser.flag("--shrink", o.shrink);
  parser.option("--heal", o.heal.file);
  parser.option("--steps", o.heal.steps);
}

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
  if (o.output.empty() && (said > 0 || o.shrink || !o.heal.file.empty()))
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kDoctorNeedsOption, call.verb, "-o"));
  // An experiment names no files, and replaying one writes none.
  if (!o.output.empty() && !o.save.empty())
    throw Error(ErrorCode::kUsage, say(call.screen.lang, Word::kPruneSaveOrWrite, call.verb));
  check_heal(call, o.heal);
  out.by = parse_choice(call, "--by", o.by, kInsteads);
  out.order = parse_choice(call, "--order", o.order, kOrders);
  if (!o.pieces.empty()) out.pieces = parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  if (o.shrink) out.shapes = doctor::Shapes::kShrink;
  if (!o.save.empty()) check_writable(call, o.save);
  return out;
}

// How many heads stay, of H; nothing when the loss decides.
std::optional<std::int64_t> kept_of(const Call& call, const Wish& wish, std::int64_t H) {
  if (wish.loss) return std::nullopt;
  std::int64_t keep = wish.keep.value_or(H);
  if (wish.share) keep = static_cast<std::int64_t>(*wish.share * static_cast<double>(H) + 0.5);
  return check_range(call, "--heads", keep, 0, H);
}

struct Outcome {
  std::size_t gone = 0;
  double harm = 0.0;
  std::string written;  ///< folder, or ""
  bool shrunk = false;
  doctor::Written file;
  std::optional<Healed> healed;
};

std::string millions(std::int64_t numbers) {
  return fmt::format("{:.2f} M", static_cast<double>(numbers) / 1e6);
}

std::string render(const Screen& screen,
                   const Corpus& corpus,
                   const Model& model,
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
      !model.generates()
          ? say(lang, Word::kPruneNoteEmbeds, corpus.about(lang))
          : say(lang, Word::kPruneNote, fmt::format("{:.4f}", curve.base), corpus.about(lang));
  out += paint(screen, Paint::kDim, "  " + wrap(about, screen.width, 2)) + '\n';
  if (!done.written.empty()) {
    const std::string what =
        done.shrunk ? say(lang,
                          Word::kPruneShrunk,
                          counted(lang, Word::kHeads, static_cast<std::int64_t>(done.file.left)),
                          millions(done.file.after),
                          millions(done.file.before),
                          text(lang,
                               models::pruned_elsewhere(model.family()) ? Word::kPruneReadElsewhere
                                                                        : Word::kPruneReadHere))
                    : std::string(text(lang, Word::kPruneZeros));
    out += "  " +
           wrap(say(lang,
                    Word::kPruneWrote,
                    clean(done.written),
                    curve.order.size() - done.gone,
                    curve.order.size(),
                    fmt::format("{:+.4f}", done.harm),
                    what),
                screen.width,
                2) +
           '\n';
  }
  if (done.healed) {
    out += "  " +
           say(lang,
               Word::kHealed,
               counted(lang, Word::kSteps, done.healed->steps),
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
  json.field("model", model.name());
  json.field("judged_by", model.generates() ? "loss" : "embedding_cosine");
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
  if (done.shrunk) {
    json.field("left_the_file", done.file.left).field("numbers_before", done.file.before);
    json.field("numbers", done.file.after);
  }
  if (done.healed) json.field("steps", done.healed->steps).field("loss_healed", done.healed->loss);
  json.end_object();
  return std::move(json).take();
}

// What the order depends on besides the weights and the texts.
std::string wishes_of(const Wish& wish) {
  std::string out =
      fmt::format("heads by {}, {} in their place", kOrders[wish.order], kInsteads[wish.by]);
  if (kOrders[wish.order] == "gates")
    out += fmt::format(", {} steps", doctor::CurveOptions().gate_steps);
  return out;
}

void save(const Call& call,
          const Options& o,
          const Wish& wish,
          const Corpus& corpus,
          const std::string& figures) {
  Experiment done{call.verb, o.words.front(), {}, corpus.text, figures, {}};
  done.arguments = {fmt::format("--by={}", kInsteads[wish.by]),
                    fmt::format("--order={}", kOrders[wish.order]),
                    fmt::format("--pieces={}", wish.pieces)};
  save_experiment(o.save, done);
}

}  // namespace

int doctor_prune(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor prune", lang);
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorPrune);
    return 0;
  }
  const Wish wish = read_wish(call, o);
  const doctor::Instead instead = wish.instead();
  if (!o.output.empty()) o.output = new_folder(call, o.output);
  const Model model = load_model(call, o.words, Purpose::kSweep);
  const auto keep = kept_of(call, wish, static_cast<std::int64_t>(doctor::heads_of(model).size()));
  std::vector<std::int32_t> heal_ids;
  if (!o.output.empty()) doctor::check_prunable(model, instead, wish.shapes);
  if (!o.heal.file.empty()) heal_ids = read_heal(call, model, o.heal);
  const Corpus corpus = read_corpus(call, model, o.data, wish.pieces);
  std::optional<KeptParts> kept;
  if (!o.results.empty())
    kept.emplace(o.results, "prune", experiment_of(o.words.front(), corpus, wishes_of(wish)));
  doctor::Curve curve;
  Outcome done;
  {
    Progress progress(lang, std::string(text(lang, kRanking[wish.order])));
    curve = doctor::prune_curve(model,
                                corpus.pieces,
                                instead,
                                {.order = static_cast<doctor::Order>(wish.order),
                                 .told = telling(progress, call, kRanking[wish.order]),
                                 .kept = kept ? &*kept : nullptr});
    if (!o.output.empty()) {
      done.gone =
          keep ? curve.order.size() - static_cast<std::size_t>(*keep)
               : doctor::gone_within(model, corpus.pieces, curve, wish.loss.value(), instead);
      done.harm = doctor::harm_without(model, corpus.pieces, curve, done.gone, instead);
    }
  }
  if (!o.output.empty()) {
    const Writing writing;
    done.file = doctor::write_pruned(model, curve, done.gone, instead, o.output, wish.shapes);
    MadeFolder made(o.output);
    if (!o.heal.file.empty())
      done.healed = heal_folder(call, o.output, o.heal, heal_ids, corpus.pieces);
    made.keep();
    done.written = o.output;
    done.shrunk = done.file.left > 0;
  }
  const std::string figures = as_json(model, curve, wish.order, done);
  if (!o.save.empty()) save(call, o, wish, corpus, figures);
  out += call.json ? figures : render(call.screen, corpus, model, curve, done);
  if (!call.json && !o.save.empty()) out += "  " + say(lang, Word::kWrote, clean(o.save)) + '\n';
  return 0;
}

}  // namespace headscope::cli
