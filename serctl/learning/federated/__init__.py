"""Federated training on Flower: several parties train one network, and no recording leaves its party.

plan          what the server decides and each message says
parties       who has which data, and what a party does with it
local         the training of one party
strategies    how the server joins what parties send, and what it refuses
client_app    a party as a Flower app
server_app    the rounds of the server
outcome       what a training gives
simulation    all parties in one process, without a network
"""
