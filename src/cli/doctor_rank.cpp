// `headscope doctor rank`: which heads an answer, or a loss, depends on.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <numeric>

#include "cli/doctor.h"
#include "cli/experiment.h"
#include "cli/json_writer.h"
#include "cli/kept.h"
#include "doctor/attribution.h"
#include "doctor/gradients.h"
#include "doctor/intervals.h"
#include "headscope/error.h"

namespace headscope::cli {

namespace {

struct Options {
  std::vector<std::string> words;
  std::string prompt, right, wrong, data, pieces, top, save, results;
};

/// What one piece of the data said of every head, as it is, by way of taking.
struct PieceHarm {
  double whole = 0.0;
  std::vector<double> zero, mean, other, slope;  ///< [H]; the last two may be empty
};

/// Pieces that are done, in a file.
class KeptPieces {
 public:
  /// `heads`: how many there are. Errors: those of KeptLines; kFormat (a line that is no piece of so many heads).
  KeptPieces(const std::string& file, const std::string& experiment, std::size_t heads)
      : lines_(
            file, "rank", experiment, [&](const json::Value& line) { read(line, file, heads); }) {}
  [[nodiscard]] const PieceHarm* find(std::size_t n) const {
    const auto found = pieces_.find(n);
    return found == pieces_.end() ? nullptr : &found->second;
  }
  void add(std::size_t n, PieceHarm piece) {
    json::Value line{{"piece", n}, {"whole", piece.whole}};
    for (const auto& [name, numbers] : lists(piece)) line[name] = *numbers;
    lines_.add(line);
    pieces_.emplace(n, std::move(piece));
  }

 private:
  static std::array<std::pair<const char*, std::vector<double>*>, 4> lists(PieceHarm& p) {
    return {{{"zero", &p.zero}, {"mean", &p.mean}, {"other", &p.other}, {"slope", &p.slope}}};
  }
  void read(const json::Value& line, const std::string& file, std::size_t heads) {
    const auto n = json::require<std::size_t>(line, "piece", file);
    PieceHarm piece;
    piece.whole = number_of(line.value("whole", json::Value()));
    for (const auto& [name, numbers] : lists(piece)) {
      for (const json::Value& one : line.value(name, json::Value::array()))
        numbers->push_back(number_of(one));
      const bool may_lack = numbers == &piece.other || numbers == &piece.slope;
      if (numbers->size() == heads || (may_lack && numbers->empty())) continue;
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected {} numbers of {}, found {}",
                              clean(file),
                              heads,
                              name,
                              numbers->size()));
    }
    pieces_.emplace(n, std::move(piece));
  }

  std::map<std::size_t, PieceHarm> pieces_;  // above lines_, which fill it
  KeptLines lines_;
};

/// What taking a head away changes, by way of taking: harm is positive.
struct Ranked {
  doctor::HeadId head;
  std::optional<double> direct;
  std::optional<doctor::Interval> gradient;  ///< the harm of zero by the slope of the gate
  double importance = 0.0;                   ///< mean size of that slope over pieces
  doctor::Interval zero, mean;
  std::optional<doctor::Interval> resample;
};

struct Ranking {
  std::vector<Ranked> heads;
  double base = 0.0;  ///< difference, or loss
  std::string about;  ///< first line below the title
  bool choice = false, intervals = false;
  double seconds = 0.0, gradient_seconds = 0.0;
  std::optional<doctor::Agreement> agreement;  ///< of gradients with zero
  std::string no_gradients;                    ///< why there are none
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Slopes of gates, one backward pass a text, for families that the tape can run.
class Slopes {
 public:
  Slopes(const Model& model, Ranking& into) : into_(into) {
    try {
      gradients_.emplace(model);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kUnsupported) throw;
      into.no_gradients = error.what();
    }
  }
  /// What silence of each head changes, as the slope foretells it; empty: no gradients.
  std::vector<double> silence(const doctor::Baseline& base,
                              const doctor::Judge& by,
                              std::span<const Edit> zeros) {
    if (!gradients_) return {};
    const auto start = std::chrono::steady_clock::now();
    const std::vector<Tensor> found = gradients_->of(base, by);
    std::vector<double> out = doctor::foretell(base, found, zeros);
    into_.gradient_seconds += seconds_since(start);
    return out;
  }

 private:
  Ranking& into_;
  std::optional<doctor::Gradients> gradients_;
};

void compare(Ranking& r) {
  std::vector<double> estimates, exact;
  for (const Ranked& one : r.heads) {
    if (!one.gradient) return;
    estimates.push_back(one.gradient->mean);
    exact.push_back(one.zero.mean);
  }
  if (!estimates.empty()) r.agreement = doctor::agreement(estimates, exact);
}

// The token that the model itself would say.
std::string answer_of(const Model& model, const Tokens& tokens) {
  RunOptions options;
  options.logits_rows = 1;
  const Run run = model.run(tokens, options);
  const auto row = run.logits.span<float>();
  const auto best = std::max_element(row.begin(), row.end()) - row.begin();
  return model.tokenizer().decode(std::vector<std::int32_t>{static_cast<std::int32_t>(best)});
}

Ranking rank_choice(const Call& call, const Model& model, const Options& o, Progress& progress) {
  doctor::Judge by;
  by.kind = doctor::Judge::Kind::kChoice;
  by.right = one_token(call, model, "--right", o.right);
  by.wrong = one_token(call, model, "--wrong", o.wrong);
  if (by.right == by.wrong)
    throw Error(ErrorCode::kUsage,
                say(call.screen.lang, Word::kRankSame, call.verb, clean(o.right)));
  const doctor::Baseline base(model, model.tokens(o.prompt));
  const auto told = telling(progress, call, Word::kDoctorAblating);
  Ranking out;
  out.choice = true;
  out.base = doctor::judge(base, by);
  auto edits = doctor::edit_every_head(base, Edit::Kind::kZero);
  const auto means = doctor::edit_every_head(base, Edit::Kind::kMean);
  const std::size_t H = edits.size();
  const std::vector<double> slopes = Slopes(model, out).silence(base, by, edits);
  const auto swept = std::chrono::steady_clock::now();
  edits.insert(edits.end(), means.begin(), means.end());
  const auto found = doctor::sweep(base, edits, by, told);
  out.seconds = seconds_since(swept);
  const auto direct = doctor::attribute(base, by.right, by.wrong);
  for (std::size_t i = 0; i < H; ++i) {
    Ranked one;
    one.head = {edits[i].layer, edits[i].head};
    if (direct) one.direct = direct->heads[i];
    const auto harm = [&](double x) {
      return doctor::Interval{out.base - x, out.base - x, out.base - x};
    };
    if (!slopes.empty()) {
      one.gradient = harm(out.base + slopes[i]);
      one.importance = std::abs(slopes[i]);
    }
    one.zero = harm(found[i]);
    one.mean = harm(found[H + i]);
    out.heads.push_back(one);
  }
  compare(out);
  out.about = say(call.screen.lang,
                  Word::kRankDifference,
                  clean(o.right),
                  clean(o.wrong),
                  figure(out.base),
                  '"' + clean(answer_of(model, base.tokens())) + '"');
  return out;
}

// The next piece with as many tokens, cut to the same number.
std::optional<doctor::Baseline> another(const Model& model, const Corpus& corpus, std::size_t n) {
  const std::int64_t T = corpus.pieces[n].ids.dim(1);
  for (std::size_t k = 1; k < corpus.pieces.size(); ++k) {
    const Tensor& ids = corpus.pieces[(n + k) % corpus.pieces.size()].ids;
    if (ids.dim(1) < T) continue;
    Tokens cut;
    cut.ids = Tensor(DType::kI32, {1, T});
    std::copy_n(ids.span<std::int32_t>().begin(), T, cut.ids.span<std::int32_t>().begin());
    return doctor::Baseline(model, std::move(cut));
  }
  return std::nullopt;
}

// Every head of one piece taken away in every way.
PieceHarm harm_of(const Model& model,
                  const Corpus& corpus,
                  std::size_t n,
                  const doctor::Judge& by,
                  Slopes& slopes,
                  double& seconds,
                  const doctor::Told& told) {
  const doctor::Baseline base(model, doctor::copy_of(corpus.pieces[n]));
  PieceHarm piece;
  piece.whole = doctor::judge(base, by);
  auto edits = doctor::edit_every_head(base, Edit::Kind::kZero);
  const std::size_t H = edits.size();
  piece.slope = slopes.silence(base, by, edits);
  const auto means = doctor::edit_every_head(base, Edit::Kind::kMean);
  edits.insert(edits.end(), means.begin(), means.end());
  if (const auto from = another(model, corpus, n)) {
    const auto more = doctor::edit_every_head(base, Edit::Kind::kReplace, &*from);
    edits.insert(edits.end(), more.begin(), more.end());
  }
  const auto start = std::chrono::steady_clock::now();
  const auto found = doctor::sweep(base, edits, by, told);
  seconds += seconds_since(start);
  for (std::size_t i = 0; i < found.size(); ++i)
    (i < H ? piece.zero : i < 2 * H ? piece.mean : piece.other).push_back(found[i] - piece.whole);
  return piece;
}

// Of one head over all pieces; likeness falls where a loss rises.
Ranked rank_head(doctor::HeadId head,
                 std::size_t i,
                 std::span<const PieceHarm> pieces,
                 double sign) {
  const auto of = [&](std::vector<double> PieceHarm::*way) {
    std::vector<double> out;
    for (const PieceHarm& piece : pieces) {
      if (i < (piece.*way).size()) out.push_back(sign * (piece.*way)[i]);
    }
    return out;
  };
  Ranked one;
  one.head = head;
  one.zero = doctor::bootstrap(of(&PieceHarm::zero));
  one.mean = doctor::bootstrap(of(&PieceHarm::mean));
  if (const auto other = of(&PieceHarm::other); !other.empty())
    one.resample = doctor::bootstrap(other);
  if (const auto slope = of(&PieceHarm::slope); !slope.empty()) {
    one.gradient = doctor::bootstrap(slope);
    for (const double x : slope) one.importance += std::abs(x) / static_cast<double>(slope.size());
  }
  return one;
}

Ranking rank_loss(const Call& call,
                  const Model& model,
                  const Corpus& corpus,
                  KeptPieces* kept,
                  Progress& progress) {
  const auto told = telling(progress, call, Word::kDoctorAblating);
  doctor::Judge by;
  if (!model.generates()) by.kind = doctor::Judge::Kind::kEmbedding;
  Ranking out;
  Slopes slopes(model, out);
  const auto N = static_cast<std::int64_t>(corpus.pieces.size());
  std::vector<PieceHarm> pieces;
  for (std::size_t n = 0; n < corpus.pieces.size(); ++n) {
    if (model.generates() && corpus.pieces[n].ids.dim(1) < 2) continue;
    if (const PieceHarm* done = kept == nullptr ? nullptr : kept->find(n)) {
      pieces.push_back(*done);
      continue;
    }
    pieces.push_back(
        harm_of(model, corpus, n, by, slopes, out.seconds, [&](std::int64_t done, std::int64_t of) {
          told(static_cast<std::int64_t>(n) * of + done, N * of);
        }));
    if (kept != nullptr) kept->add(n, pieces.back());
  }
  for (const PieceHarm& piece : pieces)
    out.base += piece.whole / static_cast<double>(pieces.size());
  out.intervals = pieces.size() > 1;
  const std::vector<doctor::HeadId> heads = doctor::heads_of(model);
  for (std::size_t i = 0; i < heads.size(); ++i)
    out.heads.push_back(rank_head(heads[i], i, pieces, model.generates() ? 1.0 : -1.0));
  compare(out);
  const Lang lang = call.screen.lang;
  out.about = model.generates()
                  ? say(lang, Word::kRankLoss, fmt::format("{:.4f}", out.base), corpus.about(lang))
                  : say(lang, Word::kRankLikeness, corpus.about(lang));
  return out;
}

std::string cell(const doctor::Interval& x, bool interval) {
  if (!interval || x.low == x.high) return fmt::format("{:+.4f}", x.mean);
  return fmt::format("{:+.4f} [{:+.4f} {:+.4f}]", x.mean, x.low, x.high);
}

std::string render(const Screen& screen, const Ranking& r, std::size_t top) {
  const Lang lang = screen.lang;
  std::vector<std::size_t> order(r.heads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(r.heads[a].mean.mean) > std::abs(r.heads[b].mean.mean);
  });
  order.resize(std::min(order.size(), top));
  const int width = r.intervals ? 28 : 11;
  const bool direct = !r.heads.empty() && r.heads.front().direct.has_value();
  const bool gradient = r.agreement.has_value();
  const bool resample = !r.heads.empty() && r.heads.front().resample.has_value();
  std::string out =
      "\n" + paint(screen, Paint::kTitle, "  " + std::string(text(lang, Word::kRankTitle))) + '\n';
  const auto note = [&](std::string_view line) {
    out += paint(screen, Paint::kDim, "  " + wrap(line, screen.width, 2)) + '\n';
  };
  note(r.about);
  const auto title = [&](Word w, int columns) {
    return right(std::string(text(lang, w)), columns);
  };
  out += "  " + left(std::string(text(lang, Word::kRankHead)), 9);
  if (direct) out += title(Word::kRankDirect, 11);
  if (gradient) out += title(Word::kRankGradient, 11);
  out += title(Word::kRankZero, width) + title(Word::kRankMean, width);
  if (resample) out += title(Word::kRankResample, width);
  out += '\n';
  for (const std::size_t i : order) {
    const Ranked& one = r.heads[i];
    out += "  " + left(one.head.name(), 9);
    if (direct) out += right(fmt::format("{:+.4f}", *one.direct), 11);
    if (gradient) out += right(fmt::format("{:+.4f}", one.gradient->mean), 11);
    out += right(cell(one.zero, r.intervals), width) + right(cell(one.mean, r.intervals), width);
    if (resample && one.resample) out += right(cell(*one.resample, r.intervals), width);
    out += '\n';
  }
  note(text(lang,
            r.choice   ? Word::kRankNoteChoice
            : resample ? Word::kRankNoteLoss
                       : Word::kRankNotePiece));
  if (r.choice && !direct) note(text(lang, Word::kRankNoDirect));
  if (gradient) {
    note(say(lang,
             Word::kRankAgreement,
             fmt::format("{:.2f}", r.agreement->correlation),
             fmt::format("{:.4f}", r.agreement->largest),
             r.heads[r.agreement->at].head.name()));
  } else {
    note(say(lang, Word::kRankNoGradients, r.no_gradients));
  }
  return tidy(out);
}

void put(JsonWriter& json, std::string_view name, const doctor::Interval& x, bool interval) {
  if (!interval) {
    json.field(name, x.mean);
    return;
  }
  json.key(name)
      .begin_object()
      .field("mean", x.mean)
      .field("low", x.low)
      .field("high", x.high)
      .end_object();
}

// Length of the importances of each layer's heads (Michel 2019 divides by it).
std::vector<double> layer_norms(const Ranking& r) {
  std::vector<double> out;
  for (const Ranked& one : r.heads) {
    out.resize(std::max(out.size(), static_cast<std::size_t>(one.head.layer) + 1));
    out.back() += one.importance * one.importance;
  }
  for (double& x : out) x = std::sqrt(x);
  return out;
}

std::string as_json(const Model& model, const Ranking& r) {
  JsonWriter json;
  json.begin_object().field("headscope", HEADSCOPE_VERSION).field("verb", "doctor rank");
  json.field("model", model.name());
  json.field("judged_by",
             r.choice            ? "logit_difference"
             : model.generates() ? "loss"
                                 : "embedding_cosine");
  json.field("base", r.base).field("seconds", r.seconds);
  if (r.agreement) {
    json.field("gradient_seconds", r.gradient_seconds);
    json.key("gradient_against_zero").begin_object();
    json.field("correlation", r.agreement->correlation).field("largest", r.agreement->largest);
    json.field("at", r.heads[r.agreement->at].head.name()).end_object();
  } else {
    json.field("no_gradients", r.no_gradients);
  }
  const std::vector<double> norms = layer_norms(r);
  json.key("heads").begin_array();
  for (const Ranked& one : r.heads) {
    json.begin_object().field("layer", one.head.layer).field("head", one.head.head);
    if (one.direct) json.field("direct", *one.direct);
    if (one.gradient) {
      put(json, "gradient", *one.gradient, r.intervals);
      const double norm = norms[static_cast<std::size_t>(one.head.layer)];
      json.field("importance", one.importance);
      json.field("importance_in_layer", norm > 0.0 ? one.importance / norm : 0.0);
    }
    put(json, "zero", one.zero, r.intervals);
    put(json, "mean", one.mean, r.intervals);
    if (one.resample) put(json, "resample", *one.resample, r.intervals);
    json.end_object();
  }
  json.end_array().end_object();
  return std::move(json).take();
}

void save(const Call& call,
          const Options& o,
          const Corpus& corpus,
          std::int64_t pieces,
          const std::string& figures) {
  Experiment done{call.verb, o.words.front(), {}, corpus.text, figures, {}};
  if (o.prompt.empty())
    done.arguments = {"--pieces=" + std::to_string(pieces)};
  else
    done.arguments = {"--prompt=" + o.prompt, "--right=" + o.right, "--wrong=" + o.wrong};
  save_experiment(o.save, done);
}

void declare(Parser& parser, Options& o) {
  parser.positionals(o.words);
  parser.option("--prompt", o.prompt);
  parser.option("--right", o.right);
  parser.option("--wrong", o.wrong);
  parser.option("--data", o.data);
  parser.option("--pieces", o.pieces);
  parser.option("--top", o.top);
  parser.option("--save", o.save);
  parser.option("--results", o.results);
}

}  // namespace

int doctor_rank(std::span<const std::string> arguments, Lang lang, std::string& out) {
  Options o;
  Parser parser("doctor rank", lang);
  declare(parser, o);
  const Call call = parser.parse(arguments);
  if (call.help) {
    out += text(lang, Word::kHelpDoctorRank);
    return 0;
  }
  const bool choice = !o.prompt.empty();
  if (!choice && (!o.right.empty() || !o.wrong.empty()))
    throw Error(ErrorCode::kUsage, say(lang, Word::kDoctorNeedsOption, call.verb, "--prompt"));
  if (choice && !o.data.empty())
    throw Error(ErrorCode::kUsage, say(lang, Word::kRankBoth, call.verb));
  if (!choice && o.data.empty() && o.words.size() == 1)
    throw Error(ErrorCode::kUsage,
                say(lang, Word::kDoctorNeedsOption, call.verb, "--prompt | --data"));
  const auto top = static_cast<std::size_t>(
      o.top.empty() ? 20 : parse_integer(call, "--top", o.top, 1, 1'000'000));
  const std::int64_t most =
      o.pieces.empty() ? 8 : parse_integer(call, "--pieces", o.pieces, 1, 1'000'000);
  if (!o.save.empty()) check_writable(call, o.save);
  if (!o.results.empty() && o.data.empty())
    throw Error(ErrorCode::kUsage, say(lang, Word::kDoctorNeedsOption, call.verb, "--data"));
  const Model model = load_model(call, o.words, Purpose::kSweep);
  Corpus corpus;
  if (!choice) corpus = read_corpus(call, model, o.data, most);
  std::optional<KeptPieces> kept;
  if (!o.results.empty()) {
    kept.emplace(o.results, experiment_of(o.words.front(), corpus), doctor::heads_of(model).size());
  }
  Ranking ranking;
  {
    Progress progress(lang, std::string(text(lang, Word::kDoctorAblating)));
    ranking = choice ? rank_choice(call, model, o, progress)
                     : rank_loss(call, model, corpus, kept ? &*kept : nullptr, progress);
  }
  const std::string figures = as_json(model, ranking);
  if (!o.save.empty()) save(call, o, corpus, most, figures);
  out += call.json ? figures : render(call.screen, ranking, top);
  return 0;
}

}  // namespace headscope::cli
