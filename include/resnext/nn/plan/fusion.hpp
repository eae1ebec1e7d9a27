/// @file
/// The pass that turns rows of the layer table into units: what a backend runs in one go.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <resnext/model/layer.hpp>
#include <resnext/tensor/dtype.hpp>
#include <resnext/tensor/number_format.hpp>

namespace resnext {

/// What a unit is at its core.
enum class UnitKind : std::uint8_t { convolution, batch_norm, pointwise, max_pool, average_pool, linear };

/// One or more rows that run as one: `relu(norm(kind(input)) + other)`, where norm, other and ReLU are optional.
struct Unit {
  UnitKind kind = UnitKind::pointwise;  ///< what it is at its core
  int row = 0;                          ///< the row at its core, which names the unit
  int norm = -1;                        ///< row of the batch norm that is folded into a convolution (inference)
  int input = 0;                        ///< value read
  int other = -1;                       ///< value added, or -1
  int output = 0;                       ///< value written
  bool relu = false;                    ///< comes last
};

/// Who the units are for. Inference folds batch norms into convolutions and lets those add the shortcut and apply the
/// ReLU; training lets the batch norms do both.
enum class Fusion : std::uint8_t { inference, training };

/// Fuses the rows of a table. An addition goes to the later of its two producers, so no unit has to move.
/// @param outputs values that are wanted besides, and so are written and stay what they are
/// @param formats of the values, if they are not all of one type: only numbers of one size are added in place
inline std::vector<Unit> fuse(std::span<const Layer> layers, Fusion fusion, std::span<const int> outputs = {},
                              std::span<const NumberFormat> formats = {}) {
  const std::size_t values = layers.size() + 1;
  std::vector<int> readers(values), last_reader(values, -1), producer(values, -1);
  for (std::size_t row = 0; row < layers.size(); ++row) {
    for (const int value : {layers[row].input, layers[row].other}) {
      if (value < 0) continue;
      ++readers[static_cast<std::size_t>(value)];
      last_reader[static_cast<std::size_t>(value)] = static_cast<int>(row);
    }
  }
  for (const int value : outputs) {
    ++readers[static_cast<std::size_t>(value)];
    last_reader[static_cast<std::size_t>(value)] = static_cast<int>(layers.size());
  }

  std::vector<Unit> units;
  // The unit that writes `value`, if nobody else reads it, so that its result may still be changed.
  const auto open_unit = [&](int value) -> Unit* {
    const int unit = producer[static_cast<std::size_t>(value)];
    return unit >= 0 && readers[static_cast<std::size_t>(value)] == 1 ? &units[static_cast<std::size_t>(unit)]
                                                                      : nullptr;
  };
  // What is written where an addition is at `row`: its sum or, if nothing else reads that, what a ReLU makes of it.
  const auto written_by = [&](int row) {
    const auto sum = static_cast<std::size_t>(layers[static_cast<std::size_t>(row)].output);
    const auto last = static_cast<std::size_t>(last_reader[sum]);
    const Layer* reader = readers[sum] == 1 && last < layers.size() ? &layers[last] : nullptr;
    return reader != nullptr && reader->op == LayerOp::relu ? reader->output : static_cast<int>(sum);
  };
  const auto same_size = [&](int a, int b) {
    const auto size = [&](int value) { return dtype_size(formats[static_cast<std::size_t>(value)].type); };
    return formats.empty() || size(a) == size(b);
  };
  const auto extend = [&](Unit& unit, const Layer& layer) {
    producer[static_cast<std::size_t>(layer.output)] = static_cast<int>(&unit - units.data());
    unit.output = layer.output;
  };
  const auto begin = [&](UnitKind kind, int row) {
    const Layer& layer = layers[static_cast<std::size_t>(row)];
    units.push_back({kind, row, -1, layer.input, layer.other, layer.output, layer.op == LayerOp::relu});
    producer[static_cast<std::size_t>(layer.output)] = static_cast<int>(units.size()) - 1;
  };
  const UnitKind adder = fusion == Fusion::inference ? UnitKind::convolution : UnitKind::batch_norm;

  for (int row = 0; row < static_cast<int>(layers.size()); ++row) {
    const Layer& layer = layers[static_cast<std::size_t>(row)];
    Unit* unit = open_unit(layer.input);
    switch (layer.op) {
      case LayerOp::convolution:
        begin(UnitKind::convolution, row);
        break;
      case LayerOp::max_pool:
        begin(UnitKind::max_pool, row);
        break;
      case LayerOp::average_pool:
        begin(UnitKind::average_pool, row);
        break;
      case LayerOp::linear:
        begin(UnitKind::linear, row);
        break;
      case LayerOp::batch_norm:
        if (fusion == Fusion::inference && unit != nullptr && unit->kind == UnitKind::convolution && unit->norm < 0 &&
            unit->other < 0 && !unit->relu) {
          unit->norm = row;
          extend(*unit, layer);
        } else {
          begin(UnitKind::batch_norm, row);
        }
        break;
      case LayerOp::relu: {
        const bool can = unit != nullptr && !unit->relu &&
                         (unit->kind == UnitKind::batch_norm || unit->kind == UnitKind::pointwise ||
                          (unit->kind == UnitKind::convolution && fusion == Fusion::inference));
        if (can) {
          unit->relu = true;
          extend(*unit, layer);
        } else {
          begin(UnitKind::pointwise, row);
        }
        break;
      }
      case LayerOp::add: {
        const bool first_is_later =
            producer[static_cast<std::size_t>(layer.input)] >= producer[static_cast<std::size_t>(layer.other)];
        const int late = first_is_later ? layer.input : layer.other;
        const int early = first_is_later ? layer.other : layer.input;
        Unit* target = open_unit(late);
        // An inference convolution adds onto the shortcut's own memory, which nobody may read from then on.
        const auto reads_early = [&](const Unit& u) { return u.input == early || u.other == early; };
        const bool in_place = target != nullptr && same_size(early, written_by(row)) && early != 0 &&
                              last_reader[static_cast<std::size_t>(early)] == row &&
                              std::none_of(units.begin() + (target - units.data()), units.end(), reads_early);
        if (target != nullptr && target->kind == adder && target->other < 0 && !target->relu && early != late &&
            (fusion == Fusion::training || in_place)) {
          target->other = early;
          extend(*target, layer);
        } else {
          begin(UnitKind::pointwise, row);
        }
        break;
      }
    }
  }
  return units;
}

/// The unit in words, for summaries and profiles: `convolution + add + relu`.
inline std::string_view unit_name(const Unit& unit) {
  if (unit.kind == UnitKind::convolution) {
    if (unit.other >= 0) return unit.relu ? "convolution + add + relu" : "convolution + add";
    return unit.relu ? "convolution + relu" : "convolution";
  }
  if (unit.kind == UnitKind::batch_norm) {
    if (unit.other >= 0) return unit.relu ? "batch norm + add + relu" : "batch norm + add";
    return unit.relu ? "batch norm + relu" : "batch norm";
  }
  if (unit.kind == UnitKind::pointwise) {
    if (unit.other >= 0) return unit.relu ? "add + relu" : "add";
    return "relu";
  }
  if (unit.kind == UnitKind::max_pool) return "max pool";
  return unit.kind == UnitKind::average_pool ? "average pool" : "linear";
}

}  // namespace resnext
