#include "train/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lzma.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <map>
#include <utility>

#include "formats/files.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"

namespace headscope::train {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr std::string_view kHalf = ".part-";  // made or taken away right now
constexpr std::int64_t kPointNumbers = 6;

std::uint64_t checksum(const fs::path& path) {
  const auto file = MappedFile::open(path);
  return lzma_crc64(
      reinterpret_cast<const std::uint8_t*>(file->bytes().data()), file->bytes().size(), 0);
}

void sync_folder(const fs::path& folder) {
  const files::Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) files::fail(folder, "open", errno);
  // Some file systems cannot sync a folder; then a rename is as safe as they make it.
  if (::fsync(opened.get()) != 0 && errno != EINVAL) files::fail(folder, "sync", errno);
}

std::int64_t step_of(const fs::path& path) {
  const std::string name = path.filename().string();
  std::int64_t step = -1;
  if (!name.starts_with(kPrefix)) return -1;
  const char* end = name.data() + name.size();
  const auto [at, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && at == end ? step : -1;
}

/// First another name, so that what is half gone never looks whole.
void take_away(const fs::path& path) {
  const fs::path half = path.parent_path() / (std::string(kHalf) + path.filename().string());
  fs::remove_all(half);
  fs::rename(path, half);
  fs::remove_all(half);
}

Tensor numbers_of(const std::vector<Point>& points) {
  Tensor out(DType::kF64, {static_cast<std::int64_t>(points.size()), kPointNumbers});
  double* to = points.empty() ? nullptr : out.span<double>().data();
  for (const Point& p : points) {
    for (const double x : {static_cast<double>(p.step),
                           static_cast<double>(p.tokens),
                           p.loss,
                           p.accuracy,
                           p.learning_rate,
                           p.norm}) {
      *to++ = x;
    }
  }
  return out;
}

std::vector<Point> points_of(const AnyView& view) {
  const auto rows = view.view<double, 2>("state.safetensors");
  if (rows.shape[1] != kPointNumbers) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[state.safetensors] expected {} numbers a point, found {}",
                            kPointNumbers,
                            rows.shape[1]));
  }
  std::vector<Point> out;
  for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
    out.push_back({static_cast<std::int64_t>(rows(i, 0)),
                   static_cast<std::int64_t>(rows(i, 1)),
                   rows(i, 2),
                   rows(i, 3),
                   rows(i, 4),
                   rows(i, 5)});
  }
  return out;
}

template <typename T>
T number(const Safetensors& file, const char* key) {
  const auto found = file.metadata().find(key);
  T out{};
  if (found != file.metadata().end()) {
    const std::string& word = found->second;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
    if (error == std::errc() && end == word.data() + word.size()) return out;
  }
  throw Error(ErrorCode::kFormat,
              fmt::format("[{}] expected a number under \"{}\" of its metadata, found {}",
                          file.name(),
                          key,
                          found == file.metadata().end() ? "no such key" : found->second));
}

void write_state(const fs::path& folder, const AdamW& optimizer, const RunState& state) {
  std::map<std::string, AnyView, std::less<>> tensors = optimizer.state();
  const Tensor train = numbers_of(state.train);
  const Tensor valid = numbers_of(state.valid);
  tensors.emplace("points.train", train.any());
  tensors.emplace("points.valid", valid.any());
  write_safetensors(folder / "state.safetensors",
                    tensors,
                    {{"step", std::to_string(state.step)},
                     {"tokens", std::to_string(state.tokens)},
                     {"seconds", fmt::format("{}", state.seconds)},
                     {"run", std::to_string(state.run)},
                     {"recipe", std::to_string(state.recipe)},
                     {"open.nats", fmt::format("{}", state.open.nats)},
                     {"open.norms", fmt::format("{}", state.open.norms)},
                     {"open.labels", std::to_string(state.open.labels)},
                     {"open.correct", std::to_string(state.open.correct)},
                     {"open.steps", std::to_string(state.open.steps)},
                     {"running", fmt::format("{}", state.running)},
                     {"optimizer_steps", std::to_string(optimizer.steps())},
                     {"model", std::to_string(checksum(folder / "model.safetensors"))}});
}

/// First under another name, so that what is half written never looks whole.
void write_checkpoint(const fs::path& folder,
                      const std::string& name,
                      const Trainee& trainee,
                      const AdamW& optimizer,
                      const RunState& state) {
  const fs::path half = folder / (std::string(kHalf) + name);
  fs::remove_all(half);
  fs::create_directories(half);
  trainee.save(half, DType::kF32);
  for (const char* file :
       {"tokenizer.json", "tokenizer_config.json", "media.json", "preprocessor_config.json"}) {
    std::error_code ignored;
    if (fs::exists(folder / file, ignored))
      write_file(half / file, std::string_view(read_file(folder / file)));
  }
  write_state(half, optimizer, state);
  sync_folder(half);
  fs::rename(half, folder / name);
  sync_folder(folder);
}

}  // namespace

void save_checkpoint(const fs::path& folder,
                     const Trainee& trainee,
                     const AdamW& optimizer,
                     const RunState& state) {
  const std::string name = fmt::format("{}{:08}", kPrefix, state.step);
  // One of this step is what this run went on from: it is whole, and its weights and moments are equal.
  if (!fs::exists(folder / name)) write_checkpoint(folder, name, trainee, optimizer, state);
  std::vector<fs::path> older;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::int64_t step = step_of(entry.path());
    if (step >= 0 && step != state.step) older.push_back(entry.path());
  }
  for (const fs::path& path : older) take_away(path);
}

bool has_checkpoint(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder),
                     fs::directory_iterator(),
                     [](const fs::directory_entry& entry) { return step_of(entry.path()) >= 0; });
}

std::optional<fs::path> newest_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return std::nullopt;
  std::optional<fs::path> newest;
  std::vector<fs::path> halves;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (path.filename().string().starts_with(kHalf)) halves.push_back(path);
    if (step_of(path) > (newest ? step_of(*newest) : -1)) newest = path;
  }
  for (const fs::path& half : halves) fs::remove_all(half);
  return newest;
}

RunState load_state(const fs::path& checkpoint) {
  const Safetensors file = Safetensors::open(checkpoint / "state.safetensors");
  if (number<std::uint64_t>(file, "model") != checksum(checkpoint / "model.safetensors")) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected the model.safetensors that was written with it, found another",
                    file.name()));
  }
  RunState state;
  state.step = number<std::int64_t>(file, "step");
  state.tokens = number<std::int64_t>(file, "tokens");
  state.seconds = number<double>(file, "seconds");
  state.run = number<std::int64_t>(file, "run");
  state.recipe = number<std::uint64_t>(file, "recipe");
  state.open.nats = number<double>(file, "open.nats");
  state.open.norms = number<double>(file, "open.norms");
  state.open.labels = number<std::int64_t>(file, "open.labels");
  state.open.correct = number<std::int64_t>(file, "open.correct");
  state.open.steps = number<std::int64_t>(file, "open.steps");
  state.running = number<double>(file, "running");
  state.train = points_of(file.at("points.train"));
  state.valid = points_of(file.at("points.valid"));
  return state;
}

void restore_moments(const fs::path& checkpoint, AdamW& optimizer) {
  const Safetensors file = Safetensors::open(checkpoint / "state.safetensors");
  optimizer.restore(file.tensors(), number<std::int64_t>(file, "optimizer_steps"));
}

}  // namespace headscope::train
