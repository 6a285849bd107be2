#include "doctor/regroup.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "doctor/folder.h"
#include "doctor/merge_groups.h"
#include "models/network.h"
#include "models/widen.h"

namespace headscope::doctor {

namespace {

using Index = Eigen::Index;

void refuse(bool there, const std::string& expected, const std::string& found) {
  if (there) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[regroup] expected {}, found {}", expected, found));
  }
}

json::Value changed_config(const std::filesystem::path& path, std::int64_t groups) {
  json::Value config = json::parse(read_file(path, std::size_t{16} << 20), "config.json");
  config["num_key_value_heads"] = groups;
  const models::Blueprint b = models::read_blueprint(config);
  for (const models::LayerFacts& layer : b.layers) {
    refuse(layer.attention.groups != groups,
           "a family whose config.json has num_key_value_heads",
           b.family);
  }
  return config;
}

void check(const models::Blueprint& b, std::int64_t groups, Merging how) {
  for (const models::LayerFacts& layer : b.layers) {
    const models::AttentionFacts& a = layer.attention;
    if (groups < 1 || groups >= a.groups || a.groups % groups != 0) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[regroup] expected fewer groups than {} that divide them, found {}",
                              a.groups,
                              groups));
    }
    refuse(a.layout != models::QkvLayout::kSeparate || a.latent.has_value() ||
               b.matrices != Linear::Layout::kOutIn || layer.cross.has_value(),
           "queries, keys and values as three matrices [out,in]",
           b.family);
    refuse(a.qk_norm != HeadNorm::Kind::kNone && a.qk_norm_over == HeadNorm::Over::kAllHeads,
           "keys that are not normed together",
           b.family);
    refuse(how == Merging::kFitted && (a.qk_norm != HeadNorm::Kind::kNone || a.clip > 0.0F),
           "keys without norms for a fit (--by mean takes them)",
           b.family);
  }
}

// The tensors of a file, some of them made anew.
class File {
 public:
  File(const models::Blueprint& b, Views views) : b_(b), views_(std::move(views)) {}

  [[nodiscard]] const Views& views() const { return views_; }

  Matrix read(const std::string& name) const {
    const std::string weight = stored_name(views_, b_, name + ".weight");
    refuse(weight.empty(), name + ".weight in the file", "none");
    const Tensor w = Tensor::f32_from(views_.at(weight));
    const std::string bias = stored_name(views_, b_, name + ".bias");
    const auto from = w.view<float, 2>();
    Matrix out(from.shape[0], from.shape[1] + (bias.empty() ? 0 : 1));
    for (std::int64_t i = 0; i < from.shape[0]; ++i) {
      for (std::int64_t c = 0; c < from.shape[1]; ++c) out(i, c) = static_cast<double>(from(i, c));
    }
    if (!bias.empty()) {
      const Tensor more = Tensor::f32_from(views_.at(bias));
      for (std::int64_t i = 0; i < from.shape[0]; ++i)
        out(i, from.shape[1]) =
            static_cast<double>(more.span<float>()[static_cast<std::size_t>(i)]);
    }
    return out;
  }

  void write(const std::string& name, const Matrix& numbers) {
    const std::string weight = stored_name(views_, b_, name + ".weight");
    const std::string bias = stored_name(views_, b_, name + ".bias");
    const Index columns = numbers.cols() - (bias.empty() ? 0 : 1);
    put(weight, numbers.leftCols(columns), {numbers.rows(), columns});
    if (!bias.empty()) put(bias, numbers.rightCols(1), {numbers.rows()});
  }

 private:
  void put(const std::string& name, const Matrix& numbers, Shape shape) {
    AnyView& view = views_.at(name);
    const DType dtype =
        view.dtype == DType::kF16 || view.dtype == DType::kBF16 ? view.dtype : DType::kF32;
    Tensor t(dtype, std::move(shape));
    for (Index i = 0; i < numbers.size(); ++i) {
      const auto x = static_cast<float>(numbers.data()[i]);
      const auto at = static_cast<std::size_t>(i);
      if (dtype == DType::kF16)
        t.span<f16>()[at] = to_f16(x);
      else if (dtype == DType::kBF16)
        t.span<bf16>()[at] = to_bf16(x);
      else
        t.span<float>()[at] = x;
    }
    made_.push_back(std::move(t));
    view = made_.back().any();
  }

  const models::Blueprint& b_;
  Views views_;
  std::vector<Tensor> made_;
};

// Whether nothing but the weights of a head says which one it is.
bool may_move(const models::AttentionFacts& a) {
  return a.sinks.empty() && a.slopes.empty() && a.relative.table.empty() &&
         a.query_norm.find("{}") == std::string::npos && a.key_norm.find("{}") == std::string::npos;
}

// One text of four is kept back to judge by, where there are two.
struct Texts {
  std::vector<const Tokens*> read, judged;

  explicit Texts(std::span<const Tokens> texts) {
    const std::size_t n = texts.size();
    for (std::size_t i = 0; i < n; ++i)
      (i % 4 == 3 || (n < 4 && n > 1 && i + 1 == n) ? judged : read).push_back(&texts[i]);
    if (judged.empty()) judged = read;
  }
};

// Many rows are multiplied by every matrix.
LoadOptions wide() {
  LoadOptions options;
  options.change = models::widen;
  return options;
}

double loss_of(const Model& model, std::span<const Tokens* const> texts) {
  double sum = 0.0;
  for (const Tokens* text : texts) sum += judge(Baseline(model, copy_of(*text)), Judge());
  return sum / static_cast<double>(texts.size());
}

std::vector<Baseline> runs_of(const Model& model,
                              std::span<const Tokens* const> texts,
                              const Told& told) {
  std::vector<Baseline> out;
  for (const Tokens* text : texts) {
    if (told) told(0, model.layers());  // a run may take long, and telling may end it
    out.emplace_back(model, copy_of(*text));
  }
  return out;
}

struct Names {
  std::string query, key, value, output;

  Names(const models::Blueprint& b, int layer) {
    const models::LayerFacts& facts = b.layers[static_cast<std::size_t>(layer)];
    const models::AttentionFacts& a = facts.attention;
    query = facts.prefix + a.query, key = facts.prefix + a.key;
    value = facts.prefix + a.value, output = facts.prefix + a.output;
  }
};

}  // namespace

Regrouped regroup(const Model& model,
                  std::span<const Tokens> texts,
                  std::int64_t groups,
                  Merging how,
                  const std::filesystem::path& folder,
                  const Told& told) {
  if (texts.empty()) throw Error(ErrorCode::kInput, "[regroup] expected a text, found none");
  refuse(!model.generates(), "a model that foretells the next token", model.family());
  for (int l = 0; l < model.layers(); ++l) {
    const HeadNorm& norm = model.attention(l).norm;
    const bool own = norm.over == HeadNorm::Over::kHead && norm.k_weight.data != nullptr &&
                     norm.k_weight.shape[0] != model.attention(l).width;
    refuse(own, "one norm for the keys of all groups", model.family());
  }
  check(model.network().blueprint(), groups, how);
  NewFolder made(model.source(), folder);
  const json::Value config = changed_config(made.path() / "config.json", groups);
  // A GGUF file lays rotary pairs otherwise than the folder that is written.
  std::optional<Model> own;
  if (made.converted()) own = Model::load(made.path().string(), wide());
  const Model& source = own ? *own : model;
  const models::Blueprint& b = source.network().blueprint();
  const Texts split(texts);
  const std::vector<Baseline> runs = runs_of(source, split.read, told);
  const Safetensors weights = made.weights();
  File file(b, Views(weights.tensors().begin(), weights.tensors().end()));
  Regrouped out;
  for (const Tokens* text : split.judged)
    out.judged.push_back(static_cast<std::size_t>(text - texts.data()));
  KeptPart values, keys;
  for (int l = 0; l < source.layers(); ++l) {
    const models::AttentionFacts& a = b.layers[static_cast<std::size_t>(l)].attention;
    out.before = a.groups;
    const Names name(b, l);
    LayerWeights w{
        file.read(name.query), file.read(name.key), file.read(name.value), file.read(name.output)};
    const Merged done =
        merge_groups(source.attention(l), moments_of(runs, l), {groups, how, may_move(a)}, w);
    values.add(done.values), keys.add(done.keys);
    out.order.push_back(done.order);
    file.write(name.query, w.q);
    file.write(name.key, w.k);
    file.write(name.value, w.v);
    file.write(name.output, w.o);
    if (told) told(l + 1, source.layers());
  }
  out.values_kept = values.share();
  out.keys_kept = keys.share();
  out.loss_before = loss_of(model, split.judged);
  write_safetensors(made.path() / "model.safetensors", file.views(), {{"format", "pt"}});
  write_file(made.path() / "config.json", std::string_view(config.dump(2) + '\n'));
  if (out.moved()) std::filesystem::remove(made.path() / "roles.json");
  out.loss_after = loss_of(Model::load(made.path().string(), wide()), split.judged);
  made.finish();
  return out;
}

bool Regrouped::moved() const {
  return std::any_of(order.begin(), order.end(), [](const std::vector<std::int64_t>& layer) {
    return !std::is_sorted(layer.begin(), layer.end());
  });
}

}  // namespace headscope::doctor
