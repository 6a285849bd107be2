#include <fmt/format.h>

#include <cmath>

#include "models/families.h"
#include "models/find.h"
#include "models/finite.h"
#include "models/model_files.h"
#include "models/vision.h"
#include "train/network.h"

namespace headscope::train {

namespace {

constexpr std::size_t kMostParameters = std::size_t{1} << 15;
constexpr std::size_t kMostConfig = std::size_t{16} << 20;

Tensor stored_as(const Tensor& value, DType dtype) {
  if (dtype == DType::kF32) return value.clone();
  Tensor t(dtype, value.shape());
  const auto from = value.span<float>();
  if (dtype == DType::kF16) {
    for (std::size_t i = 0; i < from.size(); ++i) t.span<f16>()[i] = to_f16(from[i]);
  } else {
    for (std::size_t i = 0; i < from.size(); ++i) t.span<bf16>()[i] = to_bf16(from[i]);
  }
  return t;
}

void check(const StepOptions& o) {
  const auto share = [](float x) { return x >= 0.0F && x < 1.0F; };
  if (o.compute != DType::kF32 && o.compute != DType::kBF16) {
    throw Error(
        ErrorCode::kDType,
        fmt::format("[train] expected to compute in f32 or bf16, found {}", name(o.compute)));
  }
  if (share(o.dropout) && share(o.label_smoothing) && std::isfinite(o.scale) &&
      std::isfinite(o.teaching)) {
    return;
  }
  throw Error(ErrorCode::kRange,
              fmt::format("[train] expected dropout and label smoothing 0 to below 1 and a finite "
                          "scale and teaching, found {}, {}, {} and {}",
                          o.dropout,
                          o.label_smoothing,
                          o.scale,
                          o.teaching));
}

}  // namespace

struct Trainee::Parts {
  std::string text;  // of config.json
  std::string family;
  std::vector<Parameter> parameters;
  std::unique_ptr<Network> network;
  Tape tape;

  Parts(std::string_view config, const models::Weights* file, std::uint64_t seed)
      : Parts(config, json::parse(config, "config.json", {.bytes = kMostConfig}), file, seed) {}
  // `config_text` is "" where the weights are not laid out as the config says: they cannot be saved under it.
  Parts(std::string_view config_text,
        const json::Value& config,
        const models::Weights* file,
        std::uint64_t seed,
        const models::Stored& stored = {})
      : text(config_text), family(json::require<std::string>(config, "model_type", "config.json")) {
    parameters.reserve(kMostParameters);  // the network points into it
    network = vision_network(config, file, seed, parameters);
    if (network == nullptr)
      network =
          text_network(config, file, seed, models::read_blueprint(config, stored), parameters);
  }
};

std::int64_t longest_of(const json::Value& config) {
  std::vector<Parameter> parameters;
  parameters.reserve(kMostParameters);
  std::unique_ptr<Network> network = vision_network(config, nullptr, 0, parameters, true);
  if (network == nullptr)
    network = text_network(config, nullptr, 0, models::read_blueprint(config), parameters, true);
  return network->positions();
}

Trainee::Trainee(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Trainee::Trainee(Trainee&&) noexcept = default;
Trainee& Trainee::operator=(Trainee&&) noexcept = default;
Trainee::~Trainee() = default;

Trainee Trainee::fresh(std::string_view config, std::uint64_t seed) {
  return Trainee(std::make_unique<Parts>(config, nullptr, seed));
}

namespace {
// `weights`: a folder or one file.
std::unique_ptr<Trainee::Parts> read_parts(const std::filesystem::path& folder,
                                           const std::filesystem::path& file) {
  const std::string text = read_file(folder / "config.json", kMostConfig);
  const json::Value config = json::parse(text, "config.json", {.bytes = kMostConfig});
  models::Tensors tensors = models::Tensors::of(Safetensors::open(file));
  models::check_finite(tensors);
  const auto vision = models::read_vision(config, models::architecture_of(config));
  const models::Blueprint b = vision ? vision->body : models::read_blueprint(config);
  const models::Weights weights(std::move(tensors), b.prefixes, b.matrices);
  return std::make_unique<Trainee::Parts>(text, config, &weights, 0);
}
}  // namespace

Trainee Trainee::load(const std::filesystem::path& folder) {
  return Trainee(read_parts(folder, folder));
}

Trainee Trainee::of(const Model& model) {
  const models::Place place = models::find(model.source().string());
  if (place.weights.extension() != ".gguf") return Trainee(read_parts(place.folder, place.weights));
  models::ModelFiles files = models::open_model(place);
  const models::Blueprint b = models::read_blueprint(files.config, files.stored);
  const models::Weights weights(std::move(files.tensors), b.prefixes, b.matrices);
  return Trainee(std::make_unique<Parts>("", files.config, &weights, 0, files.stored));
}

const std::string& Trainee::family() const { return parts_->family; }
std::int64_t Trainee::vocabulary() const { return parts_->network->blueprint().vocabulary; }
std::int64_t Trainee::positions() const { return parts_->network->positions(); }
std::int64_t Trainee::classes() const { return parts_->network->classes(); }
std::vector<Parameter>& Trainee::parameters() { return parts_->parameters; }
const std::vector<Parameter>& Trainee::parameters() const { return parts_->parameters; }

Loss Trainee::step(const Batch& batch, const StepOptions& options) {
  check(options);
  Tape& tape = parts_->tape;
  if (options.findings != nullptr) options.findings->clear();
  tape.begin(options);
  const Loss loss = parts_->network->loss(tape, batch);
  if (options.train && loss.count > 0) tape.backward();
  return loss;
}

Tensor Trainee::logits(const Batch& batch) {
  parts_->tape.begin({.train = false});
  return parts_->network->logits(parts_->tape, batch);
}

std::size_t Trainee::buffer_bytes() const { return parts_->tape.bytes(); }

void Trainee::save(const std::filesystem::path& folder, DType dtype) const {
  if (parts_->text.empty()) {
    throw Error(ErrorCode::kUnsupported,
                "[train] expected weights of a folder to save, found those of a GGUF file");
  }
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16) {
    throw Error(ErrorCode::kDType,
                fmt::format("[train] expected to save f32, f16 or bf16, found {}", name(dtype)));
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::kIo,
                fmt::format("[{}] cannot make the folder: {}", folder.string(), error.message()));
  }
  std::map<std::string, Tensor> kept;
  std::map<std::string, AnyView, std::less<>> views;
  for (const Parameter& p : parts_->parameters) {
    if (dtype != DType::kF32) kept.emplace(p.name, stored_as(p.value, dtype));
    views.emplace(p.name, dtype == DType::kF32 ? p.value.any() : kept.at(p.name).any());
  }
  write_safetensors(folder / "model.safetensors", views, {{"format", "pt"}});
  write_file(folder / "config.json", std::string_view(parts_->text));
}

}  // namespace headscope::train
