#include "doctor/prune.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>

#include "doctor/folder.h"
#include "doctor/gates.h"
#include "doctor/gradients.h"
#include "doctor/output_part.h"
#include "doctor/shrink.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

namespace fs = std::filesystem;

Judge judge_of(const Model& model) {
  Judge by;
  if (!model.generates()) by.kind = Judge::Kind::kEmbedding;
  return by;
}

// Larger is worse, for losses and for likeness.
double harm_of(const Judge& by, double value, double whole) {
  return by.kind == Judge::Kind::kLoss ? value - whole : whole - value;
}

// The head's findings become one row, everywhere.
Edit constant(HeadId id, const Tensor& mean, std::int64_t rows) {
  Edit edit;
  edit.layer = id.layer;
  edit.head = id.head;
  edit.kind = Edit::Kind::kReplace;
  auto all = std::make_shared<Tensor>(DType::kF32, Shape{rows, mean.dim(0)});
  for (std::int64_t i = 0; i < rows; ++i)
    std::memcpy(all->raw() + static_cast<std::size_t>(i) * mean.bytes(), mean.raw(), mean.bytes());
  edit.replacement = std::move(all);
  return edit;
}

Edit gone_edit(HeadId id, const Tensor& mean, std::int64_t rows, Instead instead) {
  if (instead == Instead::kMean) return constant(id, mean, rows);
  Edit edit;
  edit.layer = id.layer;
  edit.head = id.head;
  return edit;
}

// Means of every head's findings over all rows of all texts, in the order of heads_of.
std::vector<Tensor> means_of(const Model& model, std::span<const Baseline> runs) {
  std::vector<Tensor> out;
  for (const HeadId id : heads_of(model)) {
    std::vector<double> sum(static_cast<std::size_t>(model.attention(id.layer).value_width), 0.0);
    std::int64_t n = 0;
    for (const Baseline& run : runs) {
      const Tensor z = run.findings(id);
      const auto rows = z.view<float, 2>();
      for (std::int64_t i = 0; i < rows.shape[0]; ++i, ++n) {
        for (std::size_t d = 0; d < sum.size(); ++d)
          sum[d] += static_cast<double>(rows(i, static_cast<std::int64_t>(d)));
      }
    }
    Tensor mean(DType::kF32, {static_cast<std::int64_t>(sum.size())});
    for (std::size_t d = 0; d < sum.size(); ++d)
      mean.span<float>()[d] = static_cast<float>(sum[d] / static_cast<double>(n));
    out.push_back(std::move(mean));
  }
  return out;
}

// What heads are ranked from.
struct Ranked {
  std::span<const Baseline> runs;
  std::span<const Tensor> means;
  Instead instead;
  Judge by;

  [[nodiscard]] std::vector<Edit> edits(const Baseline& run) const {
    const std::vector<HeadId> heads = heads_of(run.model());
    std::vector<Edit> out;
    for (std::size_t i = 0; i < heads.size(); ++i)
      out.push_back(gone_edit(heads[i], means[i], run.rows(), instead));
    return out;
  }
};

// What one text says of every head: the harm without it, or the size of that as its gradient foretells it.
std::vector<double> worth_on(const Ranked& from,
                             const Baseline& run,
                             Gradients* gradients,
                             const Told& told) {
  const std::vector<Edit> edits = from.edits(run);
  if (gradients != nullptr) {
    std::vector<double> out = foretell(run, gradients->of(run, from.by), edits);
    for (double& x : out) x = std::abs(x);
    told(1, 1);
    return out;
  }
  std::vector<double> out = sweep(run, edits, from.by, told);
  const double whole = judge(run, from.by);
  for (double& x : out) x = harm_of(from.by, x, whole);
  return out;
}

// The mean of that over the texts.
std::vector<double> worth_by_runs(const Ranked& from, const CurveOptions& options) {
  const auto N = static_cast<std::int64_t>(from.runs.size());
  std::vector<double> out(from.means.size(), 0.0);
  std::optional<Gradients> gradients;
  for (std::int64_t t = 0; t < N; ++t) {
    const auto text = static_cast<std::size_t>(t);
    std::vector<double> found;
    if (options.kept != nullptr) {
      const auto before = options.kept->find(text, out.size());
      found.assign(before.begin(), before.end());
    }
    if (found.empty()) {
      if (options.order == Order::kGradient && !gradients)
        gradients.emplace(from.runs.front().model());
      found = worth_on(from,
                       from.runs[text],
                       gradients ? &*gradients : nullptr,
                       [&](std::int64_t done, std::int64_t of) {
                         if (options.told) options.told(t * of + done, N * of);
                       });
      if (options.kept != nullptr) options.kept->add(text, found);
    }
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += found[i] / static_cast<double>(N);
  }
  return out;
}

std::vector<double> worth_by_gates(const Model& model,
                                   std::span<const Tokens> texts,
                                   std::span<const Tensor> means,
                                   Instead instead,
                                   const CurveOptions& options) {
  GatedModel gated(model, instead == Instead::kMean ? means : std::span<const Tensor>());
  GateOptions how;
  how.steps = options.gate_steps;
  how.told = options.told;
  how.kept = options.kept;
  return learn_gates(gated, texts, how);
}

class Rewriter {
 public:
  /// `b`: of the file that is written.
  Rewriter(const Model& model, const models::Blueprint& b, Views& views)
      : model_(model), b_(b), views_(views) {}

  void remove(HeadId id, const Tensor& mean, Instead instead) {
    const models::LayerFacts& facts = b_.layers.at(static_cast<std::size_t>(id.layer));
    const std::string name = facts.prefix + facts.attention.output;
    if (instead == Instead::kMean) add_mean(id, mean, name);
    const std::string weight = stored_name(views_, b_, name + ".weight");
    Tensor& own = taken(weight);
    const auto size = static_cast<std::size_t>(bytes_of(own.dtype(), 1));
    const OutputPart part =
        output_part(own.shape(), b_.matrices, id.head, facts.attention.value_width);
    for (std::int64_t i = part.row; i < part.row + part.rows; ++i)
      std::memset(own.raw() + static_cast<std::size_t>(i * own.dim(1) + part.column) * size,
                  0,
                  static_cast<std::size_t>(part.columns) * size);
  }

 private:
  // What the head says on average goes into the bias, which is kept in f32 from then on.
  void add_mean(HeadId id, const Tensor& mean, const std::string& name) {
    const std::string bias = stored_name(views_, b_, name + ".bias");
    if (!made_.contains(bias)) {
      made_.emplace(bias, Tensor::f32_from(views_.at(bias)));
      views_[bias] = made_.at(bias).any();
    }
    const Tensor weight = model_.output_weight(id.layer);
    const auto w = weight.view<float, 2>();
    const std::int64_t Dv = mean.dim(0);
    for (std::int64_t c = 0; c < w.shape[0]; ++c) {
      double sum = 0.0;
      for (std::int64_t d = 0; d < Dv; ++d)
        sum += static_cast<double>(w(c, id.head * Dv + d)) *
               static_cast<double>(mean.span<float>()[static_cast<std::size_t>(d)]);
      made_.at(bias).span<float>()[static_cast<std::size_t>(c)] += static_cast<float>(sum);
    }
  }
  Tensor& taken(const std::string& name) {
    if (!made_.contains(name)) {
      made_.emplace(name, Tensor::copy_of(views_.at(name)));
      views_[name] = made_.at(name).any();
    }
    return made_.at(name);
  }

  const Model& model_;
  const models::Blueprint& b_;
  Views& views_;
  std::map<std::string, Tensor> made_;
};

// Of every layer the weights of `output`, of its own, and a bias where there are means to keep.
void check_names(const models::Blueprint& b,
                 const std::string& family,
                 const Views& views,
                 Instead instead) {
  std::map<std::string, std::size_t> owners;
  for (std::size_t l = 0; l < b.layers.size(); ++l) {
    const std::string name = b.layers[l].prefix + b.layers[l].attention.output;
    const std::string weight = stored_name(views, b, name + ".weight");
    if (weight.empty()) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[prune] expected {}.weight in the file, found none", name));
    }
    const auto [owner, own] = owners.emplace(weight, l);
    if (!own) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[prune] expected layers with weights of their own, found {} in layers "
                      "{} and {}: a head would be gone from both; try --zero of "
                      "headscope run",
                      weight,
                      owner->second,
                      l));
    }
    if (instead == Instead::kMean && stored_name(views, b, name + ".bias").empty()) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[prune] expected a bias of output ({}.bias) to hold the means, found "
                      "none: {} has no such bias; use --by zero",
                      name,
                      family));
    }
  }
}

json::Value config_of(const fs::path& folder) {
  return json::parse(read_file(folder / "config.json", std::size_t{16} << 20), "config.json");
}

// In config.json; roles.json, which names heads by their numbers, goes.
void rename_heads(const fs::path& folder, const Leaving& leaving) {
  json::Value config = config_of(folder);
  name_leaving(leaving, config);
  write_file(folder / "config.json", std::string_view(config.dump(2) + '\n'));
  fs::remove(folder / "roles.json");
}

std::int64_t numbers_of(const Views& views) {
  std::int64_t sum = 0;
  for (const auto& [name, view] : views) sum += view.size();
  return sum;
}

// Of a layer that would lose all its heads, the one that is missed most stays, silent.
Leaving leaving_of(const Model& model, const Curve& curve, std::size_t gone) {
  Leaving out;
  for (std::size_t i = 0; i < gone; ++i) {
    const HeadId id = curve.order[i];
    std::set<std::int64_t>& heads = out[id.layer];
    if (static_cast<int>(heads.size()) + 1 < model.heads(id.layer)) heads.insert(id.head);
  }
  std::erase_if(out, [](const auto& layer) { return layer.second.empty(); });
  return out;
}

}  // namespace

void check_prunable(const Model& model, Instead instead, Shapes shapes) {
  if (const std::string why = shapes == Shapes::kShrink ? bound(model) : ""; !why.empty()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[prune] expected heads that can leave the file one by one, found {} "
                            "({}); without --shrink heads stay there, as zeros",
                            why,
                            model.family()));
  }
  if (model.source().extension() == ".gguf") {  // names are those of the folder that is written
    const models::Blueprint& b = model.network().blueprint();
    Views views;
    for (std::size_t l = 0; l < b.layers.size(); ++l) {
      const std::string name = b.layers[l].prefix + b.layers[l].attention.output;
      views[name + ".weight"];
      const auto bias = model.output_bias(static_cast<int>(l));
      const auto numbers = bias.span<float>();
      if (std::any_of(numbers.begin(), numbers.end(), [](float x) { return x != 0.0F; }))
        views[name + ".bias"];
    }
    check_names(b, model.family(), views, instead);
    return;
  }
  const Safetensors file = Safetensors::open(model.source());
  check_names(model.network().blueprint(),
              model.family(),
              Views(file.tensors().begin(), file.tensors().end()),
              instead);
}

Curve prune_curve(const Model& model,
                  std::span<const Tokens> texts,
                  Instead instead,
                  const CurveOptions& options) {
  if (texts.empty()) throw Error(ErrorCode::kInput, "[prune] expected a text, found none");
  const Judge by = judge_of(model);
  const std::vector<HeadId> heads = heads_of(model);
  std::vector<Baseline> runs;
  for (const Tokens& text : texts) runs.emplace_back(model, copy_of(text));
  std::vector<Tensor> means = means_of(model, runs);
  Curve out;
  if (by.kind == Judge::Kind::kLoss) {
    for (const Baseline& run : runs) out.base += judge(run, by) / static_cast<double>(runs.size());
  }
  const std::vector<double> worth = options.order == Order::kGates
                                        ? worth_by_gates(model, texts, means, instead, options)
                                        : worth_by_runs({runs, means, instead, by}, options);
  std::vector<std::size_t> order(heads.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    // What is no number, of a model that is broken, comes last.
    return std::pair(std::isnan(worth[a]), worth[a]) < std::pair(std::isnan(worth[b]), worth[b]);
  });
  for (const std::size_t i : order) {
    out.order.push_back(heads[i]);
    out.worth.push_back(worth[i]);
    out.means.push_back(std::move(means[i]));
  }
  std::size_t last = heads.size() + 1;
  for (std::size_t p = 0; p <= options.points; ++p) {
    const std::size_t gone = p * heads.size() / std::max<std::size_t>(1, options.points);
    if (gone == last) continue;
    last = gone;
    out.points.push_back({heads.size() - gone, harm_without(model, texts, out, gone, instead)});
  }
  return out;
}

double harm_without(const Model& model,
                    std::span<const Tokens> texts,
                    const Curve& curve,
                    std::size_t gone,
                    Instead instead) {
  const Judge by = judge_of(model);
  double sum = 0.0;
  for (const Tokens& text : texts) {
    const Baseline base(model, copy_of(text));
    std::vector<Edit> edits;
    for (std::size_t i = 0; i < gone; ++i)
      edits.push_back(gone_edit(curve.order[i], curve.means[i], base.rows(), instead));
    Resume whole;
    whole.end = base.layers();
    RunOptions options;
    options.outputs = false;
    options.edits = std::move(edits);
    options.resume = &whole;
    const Run run = model.run(base.copies(1), options);
    sum += harm_of(by, judge(base, by, run.last_hidden_state).front(), judge(base, by));
  }
  return sum / static_cast<double>(texts.size());
}

std::size_t gone_within(const Model& model,
                        std::span<const Tokens> texts,
                        const Curve& curve,
                        double budget,
                        Instead instead) {
  // The furthest point within the budget, and the one behind it.
  std::size_t low = 0;
  std::size_t high = curve.order.size() + 1;
  for (const Curve::Point& point : curve.points) {
    const std::size_t gone = curve.order.size() - point.kept;
    if (point.harm <= budget) low = std::max(low, gone);
  }
  for (const Curve::Point& point : curve.points) {
    const std::size_t gone = curve.order.size() - point.kept;
    if (gone > low) high = std::min(high, gone);
  }
  while (low + 1 < high) {
    const std::size_t middle = low + (high - low) / 2;
    (harm_without(model, texts, curve, middle, instead) <= budget ? low : high) = middle;
  }
  return low;
}

Written write_pruned(const Model& model,
                     const Curve& curve,
                     std::size_t gone,
                     Instead instead,
                     const fs::path& folder,
                     Shapes shapes) {
  NewFolder made(model.source(), folder);
  // A GGUF file has its matrices the other way round than some families' folders.
  const models::Blueprint b = made.converted() ? models::read_blueprint(config_of(made.path()))
                                               : model.network().blueprint();
  Written out;
  {
    const Safetensors file = made.weights();
    Views views(file.tensors().begin(), file.tensors().end());
    check_names(b, model.family(), views, instead);
    out.before = numbers_of(views);
    Rewriter rewriter(model, b, views);
    for (std::size_t i = 0; i < gone; ++i) rewriter.remove(curve.order[i], curve.means[i], instead);
    Shrinker shrinker(b, views);
    Leaving leaving;
    if (shapes == Shapes::kShrink) leaving = leaving_of(model, curve, gone);
    if (!leaving.empty()) {
      shrinker.remove(leaving);
      for (const auto& [layer, heads] : leaving) out.left += heads.size();
      rename_heads(made.path(), leaving);
    }
    out.after = numbers_of(views);
    write_safetensors(made.path() / "model.safetensors", views, {{"format", "pt"}});
  }
  made.finish();
  return out;
}

}  // namespace headscope::doctor
